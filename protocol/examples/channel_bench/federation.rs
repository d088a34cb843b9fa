//! One provider and one aggregator with a contract, on simulated machines.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use tributary_attest::{
    Attester, LaunchConfig, Measurement, PlatformConfig, Policy, SimulatedPlatform, SimulatedRoot,
};
use tributary_protocol::{
    ConsumerAccess, Digest, Endpoint, EndpointOptions, Identity, LocalParty, NoiseStatic,
    PartyName, Role, Terms, TermsDirectory,
};

use crate::recorded::{RecordedSnp, WithRecorded};

pub(crate) struct Federation {
    pub(crate) contract: Digest,
    terms: Arc<OneContract>,
    platform: SimulatedPlatform,
    hospital: Arc<Identity>,
    lab: Arc<Identity>,
    recorded: Option<Arc<RecordedSnp>>,
}

const AGENT: &[u8] = b"the agent's build";
const AGGREGATOR: &[u8] = b"the aggregator's build";

impl Federation {
    pub(crate) fn new(recorded: Option<RecordedSnp>) -> Result<Self, Box<dyn Error>> {
        let now = Utc::now();
        let root = SimulatedRoot::generate()?;
        let platform = root.certify(PlatformConfig::new("this-machine", now)?)?;
        let (hospital, lab) = (
            Arc::new(Identity::generate()),
            Arc::new(Identity::generate()),
        );
        let contract = Digest::of(b"the contract");
        let policy =
            |program| Policy::simulated(root.public_key(), [Measurement::of_bytes(program)]);
        let terms = Terms {
            contract,
            parties: BTreeMap::from([
                (name("hospital")?, (Role::Provider, hospital.public())),
                (name("lab")?, (Role::Consumer, lab.public())),
            ]),
            provider_policy: policy(AGENT),
            aggregator_policy: policy(AGGREGATOR),
            attestation_interval: Duration::from_secs(3600),
            not_before: now - TimeDelta::hours(1),
            not_after: now + TimeDelta::hours(1),
            revoked: None,
        };
        let terms = Arc::new(OneContract(Arc::new(terms)));
        Ok(Self {
            contract,
            terms,
            platform,
            hospital,
            lab,
            recorded: recorded.map(Arc::new),
        })
    }

    /// The provider's and the aggregator's.
    pub(crate) fn endpoints(&self) -> Result<[Endpoint; 2], Box<dyn Error>> {
        let provider = LocalParty::provider(
            name("hospital")?,
            self.hospital.clone(),
            self.machine(AGENT),
            ConsumerAccess::Refused,
        );
        let noise = NoiseStatic::generate().public();
        let aggregator = LocalParty::aggregator(
            name("lab")?,
            self.lab.clone(),
            self.machine(AGGREGATOR),
            noise,
        );
        let bind = |local| {
            Endpoint::bind(
                ([127, 0, 0, 1], 0).into(),
                EndpointOptions::new(local, self.terms.clone()),
            )
        };
        Ok([bind(provider)?, bind(aggregator)?])
    }

    fn machine(&self, program: &[u8]) -> Arc<dyn Attester> {
        let config = LaunchConfig::default();
        let inner = Arc::new(self.platform.launch(Measurement::of_bytes(program), config));
        match &self.recorded {
            None => inner,
            Some(recorded) => Arc::new(WithRecorded {
                inner,
                recorded: Arc::clone(recorded),
            }),
        }
    }
}

struct OneContract(Arc<Terms>);

impl TermsDirectory for OneContract {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        (self.0.contract == *contract).then(|| self.0.clone())
    }
}

fn name(text: &str) -> Result<PartyName, Box<dyn Error>> {
    Ok(text.parse()?)
}
