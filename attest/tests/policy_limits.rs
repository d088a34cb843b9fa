//! The limits of what a policy and a constraint may hold: the last that is accepted, and the first that is not.
#![allow(clippy::unwrap_used)]

use tributary_attest::{
    ConstraintError, Criterion, Measurement, Policy, PolicyError, SimulatedRoot,
};

fn policy() -> Policy {
    let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
    Policy::simulated(root, [Measurement::of_bytes(b"program")])
}

#[test]
fn a_policy_of_eight_mebibytes_is_read_and_one_byte_more_is_not() {
    let limit = 8_388_608;
    let mut json = serde_json::to_vec(&policy()).unwrap();
    json.resize(limit, b' ');
    assert_eq!(Policy::from_json(&json).unwrap(), policy());
    json.push(b' ');
    assert!(matches!(
        Policy::from_json(&json),
        Err(PolicyError::TooLarge { got }) if got == limit + 1
    ));
}

#[test]
fn a_list_of_as_many_entries_as_may_be_is_accepted() {
    let entries =
        (0..Policy::MAX_ENTRIES).map(|number| Measurement::of_bytes(&number.to_le_bytes()));
    let mut policy = policy();
    policy.measurements = Criterion::Stated(entries.collect());
    policy.check().unwrap();
    let Criterion::Stated(list) = &mut policy.measurements else {
        unreachable!()
    };
    list.push(Measurement::of_bytes(b"one more"));
    assert!(matches!(
        policy.check(),
        Err(PolicyError::TooManyEntries { .. })
    ));
}

#[test]
fn a_constraint_of_64_kibibytes_is_read_and_one_byte_more_is_not() {
    let mut line = format!("C:{}", Measurement::of_bytes(b"program"));
    let read = Policy::from_constraint(&line).unwrap();
    line.extend(std::iter::repeat_n(' ', 65_536 - line.len()));
    assert_eq!(Policy::from_constraint(&line).unwrap(), read);
    line.push(' ');
    assert_eq!(
        Policy::from_constraint(&line),
        Err(ConstraintError::TooLong { got: 65_537 })
    );
}

#[test]
fn a_refused_word_is_shown_as_far_as_a_terminal_holds_it() {
    let word = "é".repeat(1000);
    assert_eq!(
        Policy::from_constraint(&word),
        Err(ConstraintError::UnknownWord {
            word: "é".repeat(160)
        })
    );
}
