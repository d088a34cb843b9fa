//! What must hold before anybody is connected to: contract, model, keys and platform.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tributary_attest::{Attester, Collateral, CollateralFolder, Machine, TeeChoice};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{
    Authorisation, Contract, Digest, Envelope, Identity, NoiseStatic, Passphrase,
};
use tributary_protocol::{Endpoint, EndpointOptions};
use tributary_protocol::{LocalParty, Terms, TermsDirectory};
use tributary_trainer::Graph;

use super::settings::TrainArgs;
use crate::failures::{contract_failure, contract_file_failure, endpoint_failure, folder_failure};
use crate::home::{ConsumerHome, RegisteredContract};
use crate::model_fit::misfits;

/// A run that may begin as far as this side can tell.
pub(super) struct Setup {
    pub(super) home: ConsumerHome,
    pub(super) registered: RegisteredContract,
    pub(super) identity: Arc<Identity>,
    pub(super) attester: Arc<dyn Attester>,
    /// What agents' evidence is judged by.
    pub(super) collateral: Arc<Collateral>,
    /// Where that was read, and is read again when it changes.
    pub(super) folder: Option<CollateralFolder>,
    /// The key from which the model is sealed; it is bound into the evidence of every channel.
    pub(super) noise: NoiseStatic,
    /// The consumer's authorisation, where it was given as a file.
    pub(super) authorisation: Option<Envelope>,
    /// The model before training, as the contract names it.
    pub(super) onnx: Vec<u8>,
}

impl Setup {
    pub(super) fn prepare(args: &TrainArgs, console: &Console) -> Result<Self, Failure> {
        let home = ConsumerHome::open(&args.home).map_err(folder_failure)?;
        let passphrase = Passphrase::read(&args.passphrase_file)
            .or_fail(ErrorCode::FILE_MISSING, "--passphrase-file")?;
        let registered = home
            .contract(args.contract)
            .map_err(contract_file_failure)?;
        let now = Utc::now();
        registered.signed.check(now).map_err(contract_failure)?;
        let identity = home.party().identity(&passphrase).map_err(folder_failure)?;
        let contract = registered.signed.contract();
        let authorisation =
            read_authorisation(args.authorisation.as_deref(), contract, &identity, now)?;
        let onnx = read_model(&home, contract)?;
        let attester = attester(args, &home, console)?;
        let (folder, collateral) = args.collateral.open()?;
        Ok(Self {
            identity: Arc::new(identity),
            attester,
            collateral,
            folder,
            noise: NoiseStatic::generate(),
            authorisation,
            onnx,
            registered,
            home,
        })
    }

    pub(super) fn contract(&self) -> &Contract {
        self.registered.signed.contract()
    }

    /// The model as a graph; it was read and checked once already.
    pub(super) fn new_graph(&self) -> Result<Graph, Failure> {
        Graph::from_onnx(&self.onnx).or_fail(ErrorCode::MODEL_UNSUPPORTED, "the contract's model")
    }

    /// Listens for agents that dial, and is ready to dial the others.
    pub(super) fn bind(&self, listen: SocketAddr) -> Result<Endpoint, Failure> {
        let party = self.contract().consumer().0.clone();
        let (identity, attester) = (Arc::clone(&self.identity), Arc::clone(&self.attester));
        let local = match &self.authorisation {
            None => LocalParty::aggregator(party, identity, attester, self.noise.public()),
            Some(envelope) => LocalParty::authorised_aggregator(
                party,
                identity,
                envelope.to_json(),
                attester,
                self.noise.public(),
            )
            .or_fail(ErrorCode::AUTHORISATION_REFUSED, "--authorisation")?,
        };
        let local = local.with_collateral(Arc::clone(&self.collateral));
        let terms = OneContract(Arc::new(self.contract().terms()));
        Endpoint::bind(listen, EndpointOptions::new(local, Arc::new(terms)))
            .map_err(|error| endpoint_failure(&error))
    }
}

/// An aggregator knows one contract: the one that it was started for.
struct OneContract(Arc<Terms>);

impl TermsDirectory for OneContract {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        (self.0.contract == *contract).then(|| Arc::clone(&self.0))
    }
}

fn read_authorisation(
    path: Option<&Path>,
    contract: &Contract,
    identity: &Identity,
    now: DateTime<Utc>,
) -> Result<Option<Envelope>, Failure> {
    let consumer = contract.consumer().1;
    let Some(path) = path else {
        if identity.public() == *consumer {
            return Ok(None);
        }
        return Err(Failure::new(
            ErrorCode::AUTHORISATION_REFUSED,
            format!(
                "expected the consumer's contract key {consumer} in this home, or --authorisation; this home holds {}",
                identity.public()
            ),
        )
        .hint("ask the consumer for `aggregator authorise --runner` with this home's key"));
    };
    let bytes = std::fs::read(path).or_fail(ErrorCode::FILE_MISSING, path.display())?;
    let envelope =
        Envelope::from_json(&bytes).or_fail(ErrorCode::AUTHORISATION_REFUSED, path.display())?;
    let authorisation = Authorisation::verify(&envelope, consumer, now)
        .or_fail(ErrorCode::AUTHORISATION_REFUSED, path.display())?;
    authorisation
        .expect(&contract.digest(), authorisation.run(), &identity.public())
        .or_fail(ErrorCode::AUTHORISATION_REFUSED, path.display())?;
    Ok(Some(envelope))
}

fn read_model(home: &ConsumerHome, contract: &Contract) -> Result<Vec<u8>, Failure> {
    let pipeline = &contract.document().pipeline;
    let digest = pipeline.model.onnx;
    let onnx = home.model(&digest)?.ok_or_else(|| {
        Failure::new(
            ErrorCode::MODEL_INVALID,
            format!(
                "expected the contract's model, {digest}, as {}",
                home.model_path(&digest).display()
            ),
        )
        .blame(Blame::Configuration)
        .hint("copy the ONNX file that the contract was written for to this place")
    })?;
    let graph =
        Graph::from_onnx(&onnx).or_fail(ErrorCode::MODEL_UNSUPPORTED, "the contract's model")?;
    if let Some(misfit) = misfits(&graph, contract).into_iter().next() {
        return Err(Failure::from_error(ErrorCode::MODEL_INVALID, &misfit)
            .hint("have a contract signed whose model fits its data"));
    }
    Ok(onnx)
}

/// What signs this program's evidence. The simulated TEE says on every screen that it protects nothing.
fn attester(
    args: &TrainArgs,
    home: &ConsumerHome,
    console: &Console,
) -> Result<Arc<dyn Attester>, Failure> {
    let platform = home
        .party()
        .platform()
        .or_fail(ErrorCode::KEY_UNREADABLE, "the platform")?;
    let choice = args
        .tee
        .unwrap_or_else(|| TeeChoice::of_home(platform.as_ref()));
    let attester = choice
        .attester(&Machine::local(), platform.as_ref())
        .map_err(|error| {
            Failure::from_error(ErrorCode::ATTESTATION_MISSING, &error)
                .hint(error.hint())
                .blame(Blame::Hardware)
        })?;
    if let Some(warning) = attester.tee().warning() {
        console.warn(warning);
    }
    Ok(attester)
}
