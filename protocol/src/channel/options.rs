//! What an endpoint is made of.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::error::EndpointError;
use crate::handshake::{AuthorisationCheck, LocalParty, SignedAuthorisations, TermsDirectory};

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Who this endpoint is and whom it talks to.
#[derive(Clone)]
pub struct EndpointOptions {
    /// This side.
    pub local: LocalParty,
    /// The contracts that it knows.
    pub terms: Arc<dyn TermsDirectory>,
    /// What judges the authorisations of aggregators.
    pub authorisations: Arc<dyn AuthorisationCheck>,
    /// The wall clock, by which validity and age are judged.
    pub clock: Clock,
    /// How packets travel.
    pub transport: TransportOptions,
}

impl EndpointOptions {
    /// The usual options: takes what consumers authorise, reads the system's clock.
    pub fn new(local: LocalParty, terms: Arc<dyn TermsDirectory>) -> Self {
        Self {
            local,
            terms,
            authorisations: Arc::new(SignedAuthorisations),
            clock: Arc::new(Utc::now),
            transport: TransportOptions::default(),
        }
    }
}

impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("local", &self.local)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// How packets travel, and for how long one waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportOptions {
    /// The largest packet that the discovery of the path's MTU tries, in bytes; 1,200 to 6,500.
    pub largest_packet: u16,
    /// Bytes that may be under way on a stream, 64 KiB to 64 MiB.
    pub window: u32,
    /// How often an idle channel sends a sign of life, which also keeps a firewall's mapping open.
    pub keep_alive: Duration,
    /// How long a silent peer is waited for; longer than [`Self::keep_alive`].
    pub idle_timeout: Duration,
    /// How long dialling and the handshake may take together.
    pub handshake_timeout: Duration,
    /// How long a request waits for its answer, unless the request says otherwise.
    pub request_timeout: Duration,
    /// Requests of the peer that may be open at once.
    pub open_requests: u32,
    /// Streams of batches from the peer that may be open at once.
    pub open_batch_streams: u32,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            largest_packet: LARGEST_PACKET,
            window: 1 << 20,
            keep_alive: Duration::from_secs(3),
            // A peer that was killed says nothing: this is how long its absence goes unnoticed.
            idle_timeout: Duration::from_secs(12),
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            open_requests: 64,
            open_batch_streams: 16,
        }
    }
}

impl TransportOptions {
    pub(super) fn check(&self) -> Result<(), EndpointError> {
        let within = |setting, low: u64, high: u64, got: u64| {
            if (low..=high).contains(&got) {
                return Ok(());
            }
            Err(EndpointError::Setting {
                setting,
                expected: format!("{low} to {high}"),
                got: got.to_string(),
            })
        };
        within(
            "largest_packet",
            1200,
            LARGEST_PACKET.into(),
            self.largest_packet.into(),
        )?;
        within("window", 64 << 10, 64 << 20, self.window.into())?;
        within("open_requests", 1, 4096, self.open_requests.into())?;
        within(
            "open_batch_streams",
            1,
            4096,
            self.open_batch_streams.into(),
        )?;
        let timeouts = [
            ("idle_timeout", self.idle_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("request_timeout", self.request_timeout),
        ];
        for (setting, timeout) in timeouts {
            let day = Duration::from_secs(24 * 3600);
            if timeout.is_zero() || timeout > day {
                return Err(EndpointError::Setting {
                    setting,
                    expected: "more than nothing, at most a day".to_owned(),
                    got: format!("{timeout:?}"),
                });
            }
        }
        if self.keep_alive.is_zero() || self.keep_alive >= self.idle_timeout {
            return Err(EndpointError::Setting {
                setting: "keep_alive",
                expected: format!(
                    "more than nothing, less than idle_timeout, {:?}",
                    self.idle_timeout
                ),
                got: format!("{:?}", self.keep_alive),
            });
        }
        Ok(())
    }
}

/// Ten segments of this size, as many as quinn hands to the kernel at once, stay within one UDP send of 64 KiB.
const LARGEST_PACKET: u16 = 6500;
