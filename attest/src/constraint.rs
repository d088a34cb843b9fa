//! A policy in one line, for people.

use std::str::FromStr;

use crate::{
    claims::{ProductId, SecurityVersion, SignerDigest},
    measurement::Measurement,
    policy::{
        CodeRule, Criterion, DebugRule, EvidenceAge, Policy, PolicyError, SimulatedRootKey,
        SnpPolicy, TdxPolicy,
    },
    tee::Tee,
    tier::SecurityTier,
};

impl Policy {
    /// The most bytes of a constraint: a few hundred programs fit on its line, and more belong into a file.
    pub const MAX_CONSTRAINT: usize = 64 * 1024;

    /// Reads a constraint: `C:<measurement> S:<signer> PROD:1 SVN:3 SEC:SECURE AGE:P30D`.
    ///
    /// | word | how often | what it asks for |
    /// |---|---|---|
    /// | `C:` | any number | the code's measurement, 48 bytes in hexadecimal |
    /// | `S:` | any number | the digest of the launch's signer, 48 bytes in hexadecimal |
    /// | `PROD:` | once | the product: a number, or 16 bytes in hexadecimal |
    /// | `SVN:` | once | the oldest security version |
    /// | `SEC:` | once | the tier: `SECURE` where it is not said, `STALE` or `INSECURE` |
    /// | `AGE:` | once | the oldest evidence, as an ISO 8601 duration of weeks, days, hours, minutes and seconds |
    /// | `ROOT:` | any number | a root whose simulated platforms are accepted; needs `SEC:INSECURE` |
    ///
    /// The machine must meet any `C` or any `S`, of which there is at least one, and all of the rest. SEV-SNP and TDX are
    /// accepted, at the highest privilege level and without debugging; `SEC:INSECURE` waives both, and is met by nothing
    /// that is better than insecure.
    ///
    /// ```
    /// # use tributary_attest::*;
    /// let line = format!("C:{} PROD:1 SVN:3 SEC:STALE AGE:P30D", "ab".repeat(48));
    /// let policy = Policy::from_constraint(&line)?;
    /// assert_eq!(policy.product_id, Criterion::Stated(ProductId::from_number(1)));
    /// assert_eq!(policy.maximum_age_seconds, Criterion::Stated(EvidenceAge(30 * 86_400)));
    /// # Ok::<(), ConstraintError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConstraintError`] for the first word that is not understood, is said twice, or does not go with another.
    pub fn from_constraint(line: &str) -> Result<Self, ConstraintError> {
        if line.len() > Self::MAX_CONSTRAINT {
            return Err(ConstraintError::TooLong { got: line.len() });
        }
        let mut words = Words::default();
        for word in line.split_whitespace() {
            words.take(word)?;
        }
        words.into_policy()
    }
}

/// Why a line is not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// Too long.
    #[error(
        "a constraint may have at most {} bytes, got {got}: write a policy file",
        Policy::MAX_CONSTRAINT
    )]
    TooLong {
        /// How many it has.
        got: usize,
    },
    /// A word that is none.
    #[error("expected words as C:, S:, PROD:, SVN:, SEC:, AGE: or ROOT:, got {word:?}")]
    UnknownWord {
        /// The word.
        word: String,
    },
    /// A word's value.
    #[error("{word}: expected {expected}, got {got:?}")]
    Value {
        /// The word.
        word: &'static str,
        /// What it takes.
        expected: String,
        /// What it has.
        got: String,
    },
    /// A word that is said again.
    #[error("{word}: is said twice: remove one")]
    Twice {
        /// The word.
        word: &'static str,
    },
    /// No program is named.
    #[error("expected at least one C:<measurement> or S:<signer>, got neither")]
    NoCode,
    /// Simulated platforms where better is asked for.
    #[error(
        "ROOT: accepts simulated platforms, which are INSECURE, and SEC:{tier} refuses them: say SEC:INSECURE, or remove ROOT:"
    )]
    RootOfATier {
        /// The tier.
        tier: SecurityTier,
    },
    /// What the words say together makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

#[derive(Default)]
struct Words {
    measurements: Vec<Measurement>,
    signers: Vec<SignerDigest>,
    roots: Vec<SimulatedRootKey>,
    product_id: Option<ProductId>,
    svn: Option<SecurityVersion>,
    tier: Option<SecurityTier>,
    age: Option<EvidenceAge>,
}

impl Words {
    fn take(&mut self, word: &str) -> Result<(), ConstraintError> {
        let unknown = || ConstraintError::UnknownWord { word: shown(word) };
        let (name, value) = word.split_once(':').ok_or_else(unknown)?;
        match name {
            "C" => self.measurements.push(digits("C", value)?),
            "S" => self.signers.push(digits("S", value)?),
            "ROOT" => self.roots.push(digits("ROOT", value)?),
            "PROD" => once("PROD", &mut self.product_id, product(value)?)?,
            "SVN" => once("SVN", &mut self.svn, SecurityVersion(number("SVN", value)?))?,
            "SEC" => once("SEC", &mut self.tier, tier(value)?)?,
            "AGE" => once("AGE", &mut self.age, age(value)?)?,
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn into_policy(self) -> Result<Policy, ConstraintError> {
        let tier = self.tier.unwrap_or(SecurityTier::Secure);
        let insecure = tier == SecurityTier::Insecure;
        let mut tees = vec![Tee::SevSnp, Tee::Tdx];
        if !self.roots.is_empty() {
            if !insecure {
                return Err(ConstraintError::RootOfATier { tier });
            }
            tees.push(Tee::Simulated);
        }
        let listed = !self.measurements.is_empty();
        let signed = !self.signers.is_empty();
        let code = match (listed, signed) {
            (false, false) => return Err(ConstraintError::NoCode),
            (true, true) => CodeRule::MeasurementOrSigner,
            (true, false) | (false, true) => CodeRule::MeasurementAndSigner,
        };
        let policy = Policy {
            tees,
            simulated_roots: self.roots,
            code,
            measurements: stated(listed.then_some(self.measurements)),
            signers: stated(signed.then_some(self.signers)),
            product_id: stated(self.product_id),
            minimum_svn: stated(self.svn),
            debug: if insecure {
                DebugRule::Allowed
            } else {
                DebugRule::Forbidden
            },
            tier: Criterion::Stated(tier),
            maximum_age_seconds: stated(self.age),
            sev_snp: Some(if insecure {
                SnpPolicy::any()
            } else {
                SnpPolicy::baseline()
            }),
            // The tier judges the platform's status.
            tdx: Some(TdxPolicy::any()),
        };
        policy.check()?;
        Ok(policy)
    }
}

fn stated<T>(value: Option<T>) -> Criterion<T> {
    value.map_or(Criterion::Any, Criterion::Stated)
}

fn once<T>(word: &'static str, slot: &mut Option<T>, value: T) -> Result<(), ConstraintError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ConstraintError::Twice { word }),
    }
}

fn parse<T: FromStr>(word: &'static str, value: &str) -> Result<T, ConstraintError>
where
    T::Err: ToString,
{
    value
        .parse()
        .map_err(|error: T::Err| refuse(word, error, value))
}

/// Tools print digests in either case, and people copy what they see.
fn digits<T: FromStr>(word: &'static str, value: &str) -> Result<T, ConstraintError>
where
    T::Err: ToString,
{
    parse(word, &value.to_ascii_lowercase())
}

fn tier(value: &str) -> Result<SecurityTier, ConstraintError> {
    value
        .parse()
        .map_err(|_| refuse("SEC", "SECURE, STALE or INSECURE", value))
}

/// Digits alone: `+1` and `1_000` are nobody's numbers here.
fn number<T: FromStr>(word: &'static str, value: &str) -> Result<T, ConstraintError> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| value.parse().ok())
        .flatten()
        .ok_or_else(|| refuse(word, "a number within its limits", value))
}

/// An id of 16 bytes takes 32 digits, and no number takes as many.
fn product(value: &str) -> Result<ProductId, ConstraintError> {
    if value.len() == 2 * ProductId::LEN {
        return digits("PROD", value);
    }
    number("PROD", value).map(ProductId::from_number)
}

/// ISO 8601-1:2019, section 5.5.2.4, without years and months, which have no fixed length.
fn age(value: &str) -> Result<EvidenceAge, ConstraintError> {
    seconds(value).map(EvidenceAge).ok_or_else(|| {
        let expected =
            "a duration as P30D, P2W or PT12H30M, of at most 4294967295 seconds, without years and months";
        refuse("AGE", expected, value)
    })
}

fn seconds(value: &str) -> Option<u32> {
    let rest = value.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        None => (rest, None),
        Some((days, time)) => (days, Some(time)),
    };
    let in_days = [('W', 7 * 86_400), ('D', 86_400)];
    let in_time = [('H', 3600), ('M', 60), ('S', 1)];
    let (mut total, mut parts) = add_parts(days, &in_days)?;
    if let Some(time) = time {
        let (more, count) = add_parts(time, &in_time)?;
        // A `T` that nothing follows.
        if count == 0 {
            return None;
        }
        total = total.checked_add(more)?;
        parts += count;
    }
    (parts > 0).then_some(total)
}

/// Numbers with their units, each unit at most once and in order; how many seconds and how many parts.
fn add_parts(mut text: &str, units: &[(char, u32)]) -> Option<(u32, usize)> {
    let (mut total, mut parts) = (0_u32, 0);
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        let number: u32 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(*length)?)?;
        text = &rest[unit.len_utf8()..];
        parts += 1;
    }
    Some((total, parts))
}

fn refuse(word: &'static str, expected: impl ToString, got: &str) -> ConstraintError {
    ConstraintError::Value {
        word,
        expected: expected.to_string(),
        got: shown(got),
    }
}

/// A whole file pasted by mistake must not fill the terminal.
fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SimulatedRoot;

    fn c(byte: u8) -> String {
        format!("C:{}", Measurement::new([byte; 48]))
    }

    fn s(byte: u8) -> String {
        format!("S:{}", SignerDigest::new([byte; 48]))
    }

    fn read(line: &str) -> Policy {
        Policy::from_constraint(line).unwrap()
    }

    fn refused(line: &str, said: &str) {
        let error = Policy::from_constraint(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }

    #[test]
    fn the_whole_line_is_read() {
        let line = format!("{} {} PROD:1 SVN:3 SEC:SECURE AGE:P30D", c(1), s(2));
        let policy = read(&line);
        assert_eq!(policy.tees, [Tee::SevSnp, Tee::Tdx]);
        assert_eq!(policy.code, CodeRule::MeasurementOrSigner);
        assert_eq!(
            policy.measurements,
            Criterion::Stated(vec![Measurement::new([1; 48])])
        );
        assert_eq!(
            policy.signers,
            Criterion::Stated(vec![SignerDigest::new([2; 48])])
        );
        assert_eq!(
            policy.product_id,
            Criterion::Stated(ProductId::from_number(1))
        );
        assert_eq!(policy.minimum_svn, Criterion::Stated(SecurityVersion(3)));
        assert_eq!(policy.debug, DebugRule::Forbidden);
        assert_eq!(policy.tier, Criterion::Stated(SecurityTier::Secure));
        assert_eq!(
            policy.maximum_age_seconds,
            Criterion::Stated(EvidenceAge(30 * 86_400))
        );
        assert_eq!(policy.sev_snp, Some(SnpPolicy::baseline()));
        // The order of words does not matter, nor the case of digits, nor the space between.
        let other = format!(
            "AGE:P30D  SVN:3\tPROD:01000000000000000000000000000000 {} C:{}",
            s(2),
            "01".repeat(48).to_uppercase()
        );
        assert_eq!(read(&other), policy);
    }

    #[test]
    fn one_word_for_the_code_is_enough_and_none_is_refused() {
        let only = read(&c(1));
        assert_eq!(
            (only.code, &only.signers),
            (CodeRule::MeasurementAndSigner, &Criterion::Any)
        );
        let only = read(&s(1));
        assert_eq!(
            (only.code, &only.measurements),
            (CodeRule::MeasurementAndSigner, &Criterion::Any)
        );
        let two = read(&format!("{} {}", c(1), c(2)));
        assert_eq!(two.measurements.stated().unwrap().len(), 2);
        for none in ["", "  ", "PROD:1 SEC:SECURE"] {
            refused(none, "at least one C:");
        }
        refused(&format!("{} {}", c(1), c(1)), "`measurements` lists");
        refused(&s(0), "`signers` lists zeros");
    }

    #[test]
    fn what_is_not_said_is_any_and_the_tier_is_secure() {
        let policy = read(&c(1));
        assert_eq!(policy.product_id, Criterion::Any);
        assert_eq!(policy.minimum_svn, Criterion::Any);
        assert_eq!(policy.maximum_age_seconds, Criterion::Any);
        assert_eq!(policy.tier, Criterion::Stated(SecurityTier::Secure));
    }

    #[test]
    fn insecure_waives_debugging_and_levels_and_lets_named_roots_in() {
        let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
        let policy = read(&format!("{} SEC:INSECURE ROOT:{root}", c(1)));
        assert_eq!(policy.tees, [Tee::SevSnp, Tee::Tdx, Tee::Simulated]);
        assert_eq!(policy.simulated_roots, [root]);
        assert_eq!(policy.debug, DebugRule::Allowed);
        assert_eq!(policy.sev_snp, Some(SnpPolicy::any()));
        for tier in ["", "SEC:SECURE", "SEC:STALE"] {
            refused(&format!("{} {tier} ROOT:{root}", c(1)), "say SEC:INSECURE");
        }
    }

    #[test]
    fn durations_are_read_as_iso_8601_writes_them() {
        for (text, length) in [
            ("P30D", 2_592_000),
            ("P2W", 1_209_600),
            ("P1W1D", 691_200),
            ("PT12H30M", 45_000),
            ("P1DT1S", 86_401),
            ("PT0S", 0),
            ("PT4294967295S", u32::MAX),
        ] {
            assert_eq!(seconds(text), Some(length), "{text}");
        }
        for wrong in [
            "",
            "P",
            "PT",
            "P1",
            "30D",
            "P30",
            "P1DT",
            "P1Y",
            "P1M",
            "P-1D",
            "P1.5D",
            "P1D1D",
            "P1D1W",
            "PT1M1H",
            "PT4294967296S",
            "P49711D",
            "p30d",
            "P1D ",
            "PT1H1D",
            "P1é",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn words_that_are_not_understood_are_refused() {
        for (words, said) in [
            ("c:00", "expected words as C:"),
            ("HELLO", "expected words as C:"),
            ("C:abcd", "a measurement must be 48 bytes"),
            ("S:", "a signer's key digest must be 48 bytes"),
            ("PROD:+1", "PROD: expected a number"),
            ("PROD:", "PROD: expected a number"),
            ("PROD:18446744073709551616", "PROD: expected a number"),
            ("SVN:4294967296", "SVN: expected a number"),
            ("SVN:-1", "SVN: expected a number"),
            ("SEC:secure", "SEC: expected SECURE, STALE or INSECURE"),
            ("AGE:30", "AGE: expected a duration"),
            ("ROOT:00", "ROOT: expected"),
            ("PROD:1 PROD:1", "PROD: is said twice"),
            ("SVN:1 SVN:2", "SVN: is said twice"),
            ("SEC:STALE SEC:STALE", "SEC: is said twice"),
            ("AGE:P1D AGE:P1D", "AGE: is said twice"),
        ] {
            refused(&format!("{} {words}", c(1)), said);
        }
        refused(
            &" ".repeat(Policy::MAX_CONSTRAINT + 1),
            "at most 65536 bytes",
        );
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in "[CSPRODVNEAGT:0-9a-f +éPTDHMW]{0,200}") {
            if let Ok(policy) = Policy::from_constraint(&line) {
                prop_assert!(policy.measurements.stated().is_some() || policy.signers.stated().is_some());
            }
        }
    }
}
