//! Addresses of services.

use std::{fmt, str::FromStr};

/// The base address of a service: HTTPS anywhere, plain HTTP on this machine only.
///
/// What comes is verified either way; HTTPS keeps a network from learning which chips are asked about.
///
/// ```
/// use tributary_collateral_fetch::ServiceUrl;
/// assert!("https://kdsintf.amd.com".parse::<ServiceUrl>().is_ok());
/// assert!("http://127.0.0.1:8081".parse::<ServiceUrl>().is_ok());
/// assert!("http://pccs.example".parse::<ServiceUrl>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// AMD's Key Distribution Service.
    pub fn amd_kds() -> Self {
        Self("https://kdsintf.amd.com".to_owned())
    }

    /// Intel's Provisioning Certification Service.
    pub fn intel_pcs() -> Self {
        Self("https://api.trustedservices.intel.com".to_owned())
    }

    /// The address of something below the base.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim_end_matches('/');
        let plain = trimmed
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
        let local = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        };
        let fits = match (
            trimmed.strip_prefix("https://"),
            trimmed.strip_prefix("http://"),
        ) {
            (Some(rest), _) => !rest.is_empty(),
            (None, Some(rest)) => local(rest),
            (None, None) => false,
        };
        // A name and password in an address end up in logs.
        if fits && plain && !trimmed.contains('@') && trimmed.len() <= MAX_URL {
            return Ok(Self(trimmed.to_owned()));
        }
        Err(format!(
            "expected an address as https://pccs.example:8081, or http:// on this machine, got {text:?}"
        ))
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No service's base address comes near.
const MAX_URL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_nothing_else_is_taken() {
        for right in [
            "https://kdsintf.amd.com/",
            "https://pccs:8081/sub",
            "http://localhost:1",
            "http://127.0.0.1",
            "http://[::1]:80/x",
        ] {
            assert!(right.parse::<ServiceUrl>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "https://",
            "kdsintf.amd.com",
            "ftp://localhost",
            "http://localhost.evil",
            "http://127.0.0.1.evil:80",
            "https://a b",
            "https://a?b",
            "https://a#b",
            "https://user:password@host",
            "file:///etc",
        ] {
            assert!(wrong.parse::<ServiceUrl>().is_err(), "{wrong}");
        }
        let long = format!("https://{}", "a".repeat(MAX_URL));
        assert!(long.parse::<ServiceUrl>().is_err());
    }
}
