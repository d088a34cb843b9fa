//! Attesting anew on an open channel.

use super::{
    driver::{DIALER, End, Link, RESPONDER, pump, refused},
    federation::{AGGREGATOR, Federation, noise},
};
use crate::handshake::{LocalParty, PeerIdentity, RefusalCode};

fn peers(f: &std::sync::Arc<Federation>) -> [PeerIdentity; 2] {
    super::driver::meet(f, f.aggregator(), f.provider("bank")).map(|o| o.unwrap().unwrap().peer)
}

#[test]
fn either_side_may_attest_anew() {
    let f = Federation::new();
    let [bank, lab] = peers(&f);
    // The first handshake's responder begins this one.
    let anew = [
        Link {
            nonce: 21,
            ..RESPONDER
        },
        Link {
            nonce: 22,
            ..DIALER
        },
    ];
    let (mut dialer, opening) = End::dial(&f, f.provider("bank"), anew[0], Some(lab));
    let mut responder = End::respond(&f, f.aggregator(), anew[1], Some(bank));
    pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
    assert!(dialer.outcome.unwrap().is_ok() && responder.outcome.unwrap().is_ok());
}

#[test]
fn a_renewal_by_another_identity_is_refused() {
    let f = Federation::new();
    let [_, lab] = peers(&f);
    let machine = f.machine(AGGREGATOR);
    let other_noise = LocalParty::aggregator(
        super::federation::name("lab"),
        f.consumer.clone(),
        machine,
        noise(9),
    );
    for other in [f.provider("hospital"), other_noise, f.consumer()] {
        let (mut dialer, opening) = End::dial(&f, other, DIALER, None);
        let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, Some(lab.clone()));
        pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
        assert_eq!(refused(&responder.outcome), RefusalCode::IdentityChanged);
    }
}

#[test]
fn a_renewal_under_another_contract_is_refused() {
    let f = Federation::new();
    let [_, lab] = peers(&f);
    let elsewhere = PeerIdentity {
        contract: crate::Digest::of(b"elsewhere"),
        ..lab
    };
    let (mut dialer, opening) = End::dial(&f, f.aggregator(), DIALER, None);
    let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, Some(elsewhere));
    pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
    assert_eq!(refused(&responder.outcome), RefusalCode::ContractMismatch);
}
