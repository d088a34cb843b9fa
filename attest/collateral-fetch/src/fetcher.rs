//! One GET, as often as it takes.

use std::{fmt, io, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rustls::crypto::aws_lc_rs;
use ureq::{
    Agent, Error, Proxy,
    http::{HeaderMap, HeaderName, HeaderValue, Response},
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

use crate::{
    error::FetchError,
    retry::{Retry, retry_after},
};

/// How a [`Fetcher`] reaches services.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The most that one attempt may take, from the name's resolution to the last byte.
    pub timeout: Duration,
    /// When to ask again.
    pub retry: Retry,
    /// Through which proxy.
    pub proxy: ProxyChoice,
    /// Roots that vouch for the service's certificate, in DER, in place of the web's: for a PCCS of one's own.
    pub roots: Vec<Vec<u8>>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            proxy: ProxyChoice::Environment,
            roots: Vec::new(),
        }
    }
}

/// Through which proxy services are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// What `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Environment,
    /// This one, as `http://proxy.example:3128`.
    Address(String),
}

/// Fetches with retries, a time limit for each attempt and a size limit for each answer.
///
/// ```no_run
/// use tributary_collateral_fetch::{FetchOptions, Fetcher};
/// let fetcher = Fetcher::new(&FetchOptions::default())?;
/// let chain = fetcher.get("https://kdsintf.amd.com/vcek/v1/Milan/cert_chain", 16 * 1024)?;
/// assert!(chain.body.starts_with(b"-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), tributary_collateral_fetch::FetchError>(())
/// ```
pub struct Fetcher {
    agent: Agent,
    timeout: Duration,
    retry: Retry,
    wait: Wait,
    clock: Clock,
}

type Wait = Box<dyn Fn(Duration) + Send + Sync>;
type Clock = Box<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What a service answered with status 200.
#[derive(Debug)]
pub struct Answer {
    /// The body, within its limit.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    /// An answer of this body and these headers, wherever it came from; a header that is none is left out.
    pub fn new<'a>(body: Vec<u8>, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let headers = headers.into_iter().filter_map(|(name, value)| {
            Some((
                name.parse::<HeaderName>().ok()?,
                HeaderValue::from_bytes(value).ok()?,
            ))
        });
        Self {
            body,
            headers: headers.collect(),
        }
    }

    /// A header's text, whatever the spelling of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Fetcher {
    /// A client with these options.
    ///
    /// # Errors
    /// [`FetchError::Options`] where a proxy or a root is malformed.
    pub fn new(options: &FetchOptions) -> Result<Self, FetchError> {
        let proxy = match &options.proxy {
            ProxyChoice::Environment => Proxy::try_from_env(),
            ProxyChoice::Address(address) => {
                let proxy = Proxy::new(address).map_err(|_| FetchError::Options {
                    what: "proxy",
                    reason: "expected an address as http://proxy.example:3128".to_owned(),
                })?;
                Some(proxy)
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .timeout_global(Some(options.timeout))
            .max_response_header_size(MAX_HEADERS)
            .user_agent(concat!("tributary-attest/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls(&options.roots)?)
            .proxy(proxy)
            .build();
        Ok(Self {
            agent: config.into(),
            timeout: options.timeout,
            retry: options.retry,
            wait: Box::new(std::thread::sleep),
            clock: Box::new(Utc::now),
        })
    }

    /// The same client with another clock, and another way to wait between attempts.
    #[must_use]
    pub fn with_time(
        mut self,
        clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
        wait: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        self.clock = Box::new(clock);
        self.wait = Box::new(wait);
        self
    }

    /// What stands at the address, of at most `limit` bytes.
    ///
    /// Asked again after 429, 5xx, a timeout and a connection that broke; a service's `Retry-After` is heeded up to
    /// [`Retry::longest_wait`].
    ///
    /// # Errors
    /// [`FetchError`]; the last one, where all attempts failed.
    pub fn get(&self, url: &str, limit: usize) -> Result<Answer, FetchError> {
        let mut attempts = 1;
        loop {
            let (error, asked) = match self.attempt(url, limit, attempts) {
                Attempt::Done(outcome) => return outcome,
                Attempt::Again(error, asked) => (error, asked),
            };
            if attempts >= self.retry.attempts {
                return Err(error);
            }
            let most = self.retry.longest_wait;
            let wait = asked.unwrap_or_else(|| self.retry.wait(attempts));
            if wait > most {
                let url = url.to_owned();
                return Err(FetchError::RetryLater { url, wait, most });
            }
            (self.wait)(wait);
            attempts += 1;
        }
    }

    fn attempt(&self, url: &str, limit: usize, attempts: u32) -> Attempt {
        match self.agent.get(url).call() {
            Err(error) => self.failed(url, limit, attempts, error),
            Ok(response) => match response.status().as_u16() {
                200 => match read(response, limit) {
                    Ok(answer) => Attempt::Done(Ok(answer)),
                    Err(error) => self.failed(url, limit, attempts, error),
                },
                404 => Attempt::Done(Err(FetchError::NotFound {
                    url: url.to_owned(),
                })),
                status => {
                    let error = FetchError::Status {
                        url: url.to_owned(),
                        status,
                        attempts,
                    };
                    if status != 429 && status < 500 {
                        return Attempt::Done(Err(error));
                    }
                    let asked = response.headers().get("retry-after");
                    let asked = asked.and_then(|value| value.to_str().ok());
                    Attempt::Again(
                        error,
                        asked.and_then(|value| retry_after(value, (self.clock)())),
                    )
                }
            },
        }
    }

    fn failed(&self, url: &str, limit: usize, attempts: u32, error: Error) -> Attempt {
        let url = url.to_owned();
        match error {
            Error::BodyExceedsLimit(_) => Attempt::Done(Err(FetchError::TooLarge { url, limit })),
            Error::Timeout(_) => {
                let limit = self.timeout;
                Attempt::Again(
                    FetchError::Timeout {
                        url,
                        limit,
                        attempts,
                    },
                    None,
                )
            }
            // A certificate that does not hold, or an address that is none, does not get better.
            error => {
                let again = is_passing(&error);
                let error = FetchError::Transport {
                    url,
                    reason: error.to_string(),
                    attempts,
                };
                if again {
                    Attempt::Again(error, None)
                } else {
                    Attempt::Done(Err(error))
                }
            }
        }
    }
}

enum Attempt {
    Done(Result<Answer, FetchError>),
    Again(FetchError, Option<Duration>),
}

fn read(mut response: Response<ureq::Body>, limit: usize) -> Result<Answer, Error> {
    let headers = response.headers().clone();
    let body = response
        .body_mut()
        .with_config()
        .limit(limit as u64)
        .read_to_vec()?;
    Ok(Answer { body, headers })
}

/// Whether the network rather than the other side is the likely reason.
fn is_passing(error: &Error) -> bool {
    match error {
        // rustls tells its own errors as those of the stream.
        Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::BodyStalled
        | Error::Protocol(_)
        | Error::ConnectProxyFailed(_) => true,
        _ => false,
    }
}

fn tls(roots: &[Vec<u8>]) -> Result<TlsConfig, FetchError> {
    let root_certs = if roots.is_empty() {
        RootCerts::WebPki
    } else {
        for root in roots {
            // The TLS library skips what it cannot read; a root that is given must count.
            let mut store = rustls::RootCertStore::empty();
            store
                .add(rustls::pki_types::CertificateDer::from(root.as_slice()))
                .map_err(|error| FetchError::Options {
                    what: "root certificate",
                    reason: error.to_string(),
                })?;
        }
        let roots = roots
            .iter()
            .map(|root| Certificate::from_der(root).to_owned());
        RootCerts::Specific(Arc::new(roots.collect()))
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(root_certs)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build())
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Neither service redirects; a PCCS behind a gateway may, once.
const MAX_REDIRECTS: u32 = 2;
/// Intel's services send a certificate chain of some 2 KiB in a header, with its line ends escaped.
const MAX_HEADERS: usize = 32 * 1024;
