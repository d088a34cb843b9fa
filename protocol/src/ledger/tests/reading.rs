//! Who is shown what.

use super::*;

#[test]
fn contracts_and_runs_are_shown_to_their_parties_only() {
    let mut world = World::running();
    let show = Request::Show {
        number: SequenceNumber::FIRST,
    };
    let state = Request::RunState {
        contract: SequenceNumber::FIRST,
        run: run(1),
    };
    for request in [show, state] {
        for party in ["alice", "bob", "tdc"] {
            world.does(party, request.clone());
        }
        assert!(matches!(
            world.answer(&peer("mallory"), &request),
            Err(LedgerError::Refused(Refusal::NotAParty { .. }))
        ));
    }
}

#[test]
fn a_proof_from_the_future_is_refused() {
    let mut world = World::registered();
    let request = Request::Consistency { older: 2, newer: 3 };
    assert!(matches!(
        world.answer(&peer("tdc"), &request),
        Err(LedgerError::Refused(Refusal::FutureSize { size: 1, .. }))
    ));
}
