//! What the fuzz targets of policies and simulated evidence do with their input; their seeds are replayed by an ordinary test.

use tributary_attest::{Evidence, Policy, SimulatedPlatformKey, Tee, danger_read_unverified};

/// A policy that is read is one spelling of itself, and checking it or wording it never panics.
pub fn policy(data: &[u8]) {
    let Ok(policy) = Policy::from_json(data) else {
        return;
    };
    let _ = policy.check();
    assert!(!policy.words().is_empty());
    reads_back(&policy);
}

/// A constraint that is read makes a policy that makes sense.
pub fn constraint(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(policy) = Policy::from_constraint(line) else {
        return;
    };
    assert_eq!(policy.check(), Ok(()));
    reads_back(&policy);
}

/// Reading a simulated report never panics.
pub fn simulated_report(data: &[u8]) {
    if let Ok(evidence) = Evidence::new(Tee::Simulated, data.to_vec(), Vec::new()) {
        let _ = danger_read_unverified(&evidence);
    }
}

/// Reading a simulated platform's certificate never panics, and what is read stands in it.
pub fn simulated_certificate(data: &[u8]) {
    if let Ok(evidence) = Evidence::new(Tee::Simulated, vec![0], vec![data.to_vec()])
        && let Ok(key) = SimulatedPlatformKey::danger_read_unverified(&evidence)
    {
        assert!(data.windows(32).any(|window| window == key.as_bytes()));
    }
}

fn reads_back(policy: &Policy) {
    let json = serde_json::to_vec(policy).unwrap_or_default();
    assert_eq!(Policy::from_json(&json).as_ref(), Ok(policy));
}
