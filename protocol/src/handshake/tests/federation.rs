//! A contract of two providers and a consumer, with machines whose root is the federation's own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tributary_attest::{
    Attester, LaunchConfig, Measurement, PlatformConfig, Policy, SimulatedPlatform, SimulatedRoot,
};

use crate::{
    Digest, Identity, NoiseKey, PartyKey, PartyName, Role,
    handshake::{AuthorisationCheck, ConsumerAccess, LocalParty, Terms, TermsDirectory},
};

pub(crate) struct Federation {
    pub(crate) now: DateTime<Utc>,
    pub(crate) hospital: Arc<Identity>,
    pub(crate) bank: Arc<Identity>,
    pub(crate) consumer: Arc<Identity>,
    pub(crate) runner: Arc<Identity>,
    pub(crate) root: SimulatedRoot,
    pub(crate) platform: SimulatedPlatform,
    pub(crate) terms: Mutex<BTreeMap<Digest, Arc<Terms>>>,
    pub(crate) contract: Digest,
}

pub(crate) const AGENT: &[u8] = b"the agent's build";
pub(crate) const AGGREGATOR: &[u8] = b"the aggregator's build";

impl Federation {
    pub(crate) fn new() -> Arc<Self> {
        Self::at(Utc::now(), Duration::from_secs(3600))
    }

    pub(crate) fn at(now: DateTime<Utc>, attestation_interval: Duration) -> Arc<Self> {
        let root = SimulatedRoot::generate().unwrap();
        let platform = root
            .certify(PlatformConfig::new("host", now).unwrap())
            .unwrap();
        let identity = || Arc::new(Identity::generate());
        let federation = Self {
            now,
            hospital: identity(),
            bank: identity(),
            consumer: identity(),
            runner: identity(),
            root,
            platform,
            terms: Mutex::default(),
            contract: Digest::of(b"the contract"),
        };
        let terms = Terms {
            contract: federation.contract,
            parties: BTreeMap::from([
                (
                    name("hospital"),
                    (Role::Provider, federation.hospital.public()),
                ),
                (name("bank"), (Role::Provider, federation.bank.public())),
                (name("lab"), (Role::Consumer, federation.consumer.public())),
            ]),
            provider_policy: Policy::simulated(
                federation.root.public_key(),
                [Measurement::of_bytes(AGENT)],
            ),
            aggregator_policy: Policy::simulated(
                federation.root.public_key(),
                [Measurement::of_bytes(AGGREGATOR)],
            ),
            attestation_interval,
            not_before: now - TimeDelta::days(1),
            not_after: now + TimeDelta::days(1),
            revoked: None,
        };
        federation.add(terms);
        Arc::new(federation)
    }

    pub(crate) fn add(&self, terms: Terms) {
        self.terms
            .lock()
            .unwrap()
            .insert(terms.contract, Arc::new(terms));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Terms)) {
        let mut terms = (*self.terms(&self.contract).unwrap()).clone();
        change(&mut terms);
        self.add(terms);
    }

    pub(crate) fn machine(&self, program: &[u8]) -> Arc<dyn Attester> {
        let now = self.now;
        let machine = self
            .platform
            .launch(Measurement::of_bytes(program), LaunchConfig::default());
        Arc::new(machine.with_clock(move || now))
    }

    /// An aggregator whose evidence holds no time, as hardware's does not.
    pub(crate) fn undated_aggregator(&self) -> LocalParty {
        let machine = self
            .platform
            .launch(Measurement::of_bytes(AGGREGATOR), LaunchConfig::default())
            .without_clock();
        let identity = self.consumer.clone();
        LocalParty::aggregator(name("lab"), identity, Arc::new(machine), noise(7))
    }

    pub(crate) fn provider(&self, party: &str) -> LocalParty {
        let identity = match party {
            "hospital" => &self.hospital,
            _ => &self.bank,
        };
        let machine = self.machine(AGENT);
        LocalParty::provider(
            name(party),
            identity.clone(),
            machine,
            ConsumerAccess::Identified,
        )
    }

    pub(crate) fn aggregator(&self) -> LocalParty {
        let machine = self.machine(AGGREGATOR);
        LocalParty::aggregator(name("lab"), self.consumer.clone(), machine, noise(7))
    }

    pub(crate) fn runner(&self, authorisation: &[u8]) -> LocalParty {
        LocalParty::authorised_aggregator(
            name("lab"),
            self.runner.clone(),
            authorisation.to_vec(),
            self.machine(AGGREGATOR),
            noise(7),
        )
        .unwrap()
    }

    pub(crate) fn consumer(&self) -> LocalParty {
        LocalParty::consumer(name("lab"), self.consumer.clone())
    }
}

impl TermsDirectory for Federation {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        self.terms.lock().unwrap().get(contract).cloned()
    }
}

/// Takes the envelope `good` for the federation's runner.
impl AuthorisationCheck for Federation {
    fn runner(
        &self,
        envelope: &[u8],
        consumer: &PartyKey,
        contract: &Digest,
        _: DateTime<Utc>,
    ) -> Result<PartyKey, String> {
        assert_eq!(
            (*consumer, *contract),
            (self.consumer.public(), self.contract)
        );
        match envelope {
            b"good" => Ok(self.runner.public()),
            _ => Err("an envelope that the consumer did not sign".to_owned()),
        }
    }
}

pub(crate) fn name(text: &str) -> PartyName {
    text.parse().unwrap()
}

pub(crate) fn noise(byte: u8) -> NoiseKey {
    NoiseKey::from_bytes([byte; 32]).unwrap()
}
