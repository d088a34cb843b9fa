//! Whom the handshake lets in, and one refusal for each thing that can be wrong.

use std::sync::Arc;

use chrono::TimeDelta;
use tributary_attest::{CheckName, Measurement, Policy, SimulatedRoot};

use super::{
    driver::{DIALER, End, From, Link, RESPONDER, meet, meet_through, pump, refused, tls},
    federation::{AGENT, AGGREGATOR, Federation, name, noise},
};
use crate::{
    Digest, Identity, Role,
    handshake::message::{Credential, Hello, Message, Proof},
    handshake::{
        ConsumerAccess, FRAME_HEADER, HandshakeError, LocalParty, Outcome, RefusalCode, Terms,
        TermsDirectory as _,
    },
};

#[test]
fn a_provider_and_an_aggregator_attest_each_other_whoever_dials() {
    let f = Federation::new();
    for swap in [false, true] {
        let (left, right) = match swap {
            false => (f.provider("hospital"), f.aggregator()),
            true => (f.aggregator(), f.provider("hospital")),
        };
        for outcome in meet(&f, left, right) {
            let accepted = outcome.unwrap().unwrap();
            let Outcome::Attested(verdict) = accepted.outcome else {
                panic!("not attested")
            };
            let peer = accepted.peer;
            match peer.role {
                Role::Aggregator => {
                    assert_eq!(verdict.measurement, Measurement::of_bytes(AGGREGATOR));
                    assert_eq!((peer.party, peer.noise_key), (name("lab"), Some(noise(7))));
                    assert_eq!(peer.proof_key, f.consumer.public());
                }
                _ => {
                    assert_eq!(verdict.measurement, Measurement::of_bytes(AGENT));
                    assert_eq!((peer.party, peer.noise_key), (name("hospital"), None));
                }
            }
            assert_eq!(peer.contract, f.contract);
        }
    }
}

#[test]
fn evidence_without_a_time_is_as_old_as_the_nonce_that_it_is_for() {
    let f = Federation::new();
    let met = |drawn_before| {
        let link = Link {
            drawn_before,
            ..DIALER
        };
        let (mut dialer, opening) = End::dial(&f, f.provider("hospital"), link, None);
        let mut responder = End::respond(&f, f.undated_aggregator(), RESPONDER, None);
        pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
        dialer.outcome
    };
    let accepted = met(TimeDelta::seconds(1)).unwrap().unwrap();
    let Outcome::Attested(verdict) = accepted.outcome else {
        panic!("not attested")
    };
    let of_age = |check: &&tributary_attest::Check| check.name == CheckName::Age;
    let age = verdict.checks.iter().find(of_age).unwrap();
    assert_eq!(age.result, tributary_attest::CheckResult::Pass);
    assert!(age.got.contains("report data of 1 s old"), "{}", age.got);

    let outcome = met(TimeDelta::days(1));
    assert_eq!(refused(&outcome), RefusalCode::EvidenceRefused);
    let Some(Err(HandshakeError::Refused(refusal))) = outcome else {
        panic!("not refused here")
    };
    assert_eq!(refusal.appraisal.unwrap().check(), CheckName::Age);
}

#[test]
fn two_providers_attest_each_other() {
    let f = Federation::new();
    for outcome in meet(&f, f.provider("hospital"), f.provider("bank")) {
        assert!(matches!(
            outcome.unwrap().unwrap().outcome,
            Outcome::Attested(_)
        ));
    }
}

#[test]
fn an_aggregator_with_an_authorised_key_is_taken() {
    let f = Federation::new();
    let [_, responder] = meet(&f, f.runner(b"good"), f.provider("bank"));
    let peer = responder.unwrap().unwrap().peer;
    assert_eq!(
        (peer.proof_key, peer.party_key),
        (f.runner.public(), f.consumer.public())
    );
    assert_eq!(peer.authorisation.as_deref(), Some(b"good".as_slice()));
}

#[test]
fn a_consumer_is_identified_and_appraises_the_provider() {
    let f = Federation::new();
    let [consumer, provider] = meet(&f, f.consumer(), f.provider("hospital"));
    let Outcome::Identified(Some(verdict)) = consumer.unwrap().unwrap().outcome else {
        panic!("the consumer did not appraise the provider")
    };
    assert_eq!(verdict.measurement, Measurement::of_bytes(AGENT));
    let provider = provider.unwrap().unwrap();
    assert!(matches!(provider.outcome, Outcome::Identified(None)));
    assert_eq!(provider.peer.role, Role::Consumer);
}

/// Both sides end with the code: one refuses, the other is told.
#[track_caller]
fn check(f: &Arc<Federation>, dialer: LocalParty, responder: LocalParty, code: RefusalCode) {
    for outcome in meet(f, dialer, responder).into_iter().flatten() {
        assert_eq!(outcome.unwrap_err().code(), Some(code));
    }
}

#[test]
fn pairs_of_roles_that_have_nothing_to_say_are_refused() {
    let f = Federation::new();
    check(&f, f.aggregator(), f.aggregator(), RefusalCode::RolePair);
    check(&f, f.consumer(), f.consumer(), RefusalCode::RolePair);
    check(&f, f.consumer(), f.aggregator(), RefusalCode::RolePair);
    check(&f, f.aggregator(), f.consumer(), RefusalCode::RolePair);
}

#[test]
fn a_provider_that_admits_no_consumers_refuses_them() {
    let f = Federation::new();
    let closed = LocalParty {
        consumers: ConsumerAccess::Refused,
        ..f.provider("bank")
    };
    check(&f, f.consumer(), closed, RefusalCode::ConsumerNotAdmitted);
}

#[test]
fn an_unknown_contract_is_refused() {
    let f = Federation::new();
    let elsewhere = Federation::new();
    let (mut dialer, opening) = End::dial(&f, f.aggregator(), DIALER, None);
    elsewhere.terms.lock().unwrap().clear();
    let mut responder = End::respond(&elsewhere, f.provider("bank"), RESPONDER, None);
    pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
    assert_eq!(refused(&responder.outcome), RefusalCode::UnknownContract);
    let told = dialer.outcome.unwrap().unwrap_err();
    assert!(matches!(told, HandshakeError::RefusedByPeer(_)));
}

#[test]
fn an_answer_for_another_contract_is_refused() {
    let f = Federation::new();
    let other = Terms {
        contract: Digest::of(b"other"),
        ..(*f.terms(&f.contract).unwrap()).clone()
    };
    f.add(other);
    let [dialer, _] = meet_through(&f, f.aggregator(), f.provider("bank"), |from, frame| {
        vec![match from {
            From::Responder(0) => edit_hello(&frame, |hello| hello.contract = Digest::of(b"other")),
            _ => frame,
        }]
    });
    assert_eq!(refused(&dialer), RefusalCode::ContractMismatch);
}

#[test]
fn a_contract_out_of_force_admits_no_aggregator_but_lets_providers_settle() {
    let f = Federation::new();
    f.change(|terms| terms.not_after = terms.not_before + TimeDelta::hours(1));
    check(
        &f,
        f.aggregator(),
        f.provider("bank"),
        RefusalCode::ContractNotInForce,
    );
    let [dialer, responder] = meet(&f, f.provider("hospital"), f.provider("bank"));
    assert!(dialer.unwrap().is_ok() && responder.unwrap().is_ok());
}

#[test]
fn a_revoked_contract_admits_no_aggregator() {
    let f = Federation::new();
    let now = f.now;
    f.change(|terms| terms.revoked = Some(now));
    check(
        &f,
        f.aggregator(),
        f.provider("bank"),
        RefusalCode::ContractRevoked,
    );
}

#[test]
fn a_party_that_the_contract_does_not_name_is_refused_on_both_sides() {
    let f = Federation::new();
    let stranger = LocalParty {
        party: name("stranger"),
        ..f.provider("bank")
    };
    let [dialer, _] = meet(&f, stranger.clone(), f.aggregator());
    assert_eq!(refused(&dialer), RefusalCode::NotAPartyHere);
    let [_, responder] = meet(&f, f.aggregator(), stranger);
    assert_eq!(refused(&responder), RefusalCode::NotAPartyHere);
    let renamed = |from, frame: Vec<u8>| {
        vec![match from {
            From::Dialer(0) => edit_hello(&frame, |hello| hello.party = name("stranger")),
            _ => frame,
        }]
    };
    let [_, responder] = meet_through(&f, f.provider("bank"), f.aggregator(), renamed);
    assert_eq!(refused(&responder), RefusalCode::UnknownParty);
}

#[test]
fn a_party_in_another_role_than_the_contracts_is_refused() {
    let f = Federation::new();
    let as_provider = |from, frame: Vec<u8>| {
        vec![match from {
            From::Dialer(0) => edit_hello(&frame, |hello| {
                hello.role = Role::Provider;
                hello.noise = None;
            }),
            _ => frame,
        }]
    };
    let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), as_provider);
    assert_eq!(refused(&responder), RefusalCode::RoleMismatch);
}

#[test]
fn another_key_than_the_contracts_is_refused() {
    let f = Federation::new();
    let other_key = |from, frame: Vec<u8>| {
        vec![match from {
            From::Dialer(0) => edit_hello(&frame, |hello| {
                hello.credential = Credential::ContractKey(Identity::generate().public());
            }),
            _ => frame,
        }]
    };
    let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), other_key);
    assert_eq!(refused(&responder), RefusalCode::PartyKeyMismatch);
}

#[test]
fn claiming_the_contracts_key_without_having_it_is_refused() {
    let f = Federation::new();
    let forged = |from, frame: Vec<u8>| {
        vec![match from {
            From::Dialer(1) => edit_proof(&frame, |proof| {
                proof.signature = Identity::generate().sign(b"another message");
            }),
            _ => frame,
        }]
    };
    let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), forged);
    assert_eq!(refused(&responder), RefusalCode::PartySignature);
}

#[test]
fn an_authorisation_that_does_not_hold_is_refused() {
    let f = Federation::new();
    check(
        &f,
        f.runner(b"bad"),
        f.provider("bank"),
        RefusalCode::AuthorisationRefused,
    );
    let from_provider = |from, frame: Vec<u8>| {
        vec![match from {
            From::Dialer(0) => edit_hello(&frame, |hello| {
                hello.credential = Credential::Authorisation(b"good".to_vec());
            }),
            _ => frame,
        }]
    };
    let [_, responder] = meet_through(
        &f,
        f.provider("hospital"),
        f.provider("bank"),
        from_provider,
    );
    assert_eq!(refused(&responder), RefusalCode::AuthorisationRefused);
}

#[test]
fn a_noise_key_is_owed_by_aggregators_and_by_nobody_else() {
    let f = Federation::new();
    let edit = |key| {
        move |from, frame: Vec<u8>| {
            vec![match from {
                From::Dialer(0) => edit_hello(&frame, |hello| hello.noise = key),
                _ => frame,
            }]
        }
    };
    let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), edit(None));
    assert_eq!(refused(&responder), RefusalCode::NoiseKey);
    let [_, responder] = meet_through(
        &f,
        f.provider("hospital"),
        f.provider("bank"),
        edit(Some(noise(1))),
    );
    assert_eq!(refused(&responder), RefusalCode::NoiseKey);
}

#[test]
fn an_exchanged_noise_key_is_refused() {
    let f = Federation::new();
    let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), |from, frame| {
        vec![match from {
            From::Dialer(0) => edit_hello(&frame, |hello| hello.noise = Some(noise(1))),
            _ => frame,
        }]
    });
    assert_eq!(refused(&responder), RefusalCode::PartySignature);
}

#[test]
fn missing_unexpected_and_malformed_evidence_is_refused() {
    let f = Federation::new();
    // The sender signs over what it sends: only the evidence is wrong.
    let without = LocalParty {
        attester: None,
        ..f.aggregator()
    };
    check(
        &f,
        without,
        f.provider("bank"),
        RefusalCode::EvidenceMissing,
    );
    let surplus = LocalParty {
        attester: Some(f.machine(AGENT)),
        ..f.consumer()
    };
    check(
        &f,
        surplus,
        f.provider("bank"),
        RefusalCode::EvidenceUnexpected,
    );
    let [_, responder] = meet_signed(&f, |proof| proof.truncate(proof.len() - 1));
    assert_eq!(refused(&responder), RefusalCode::EvidenceMalformed);
}

#[test]
fn evidence_of_another_program_is_refused_with_each_check() {
    let f = Federation::new();
    let other = LocalParty {
        attester: Some(f.machine(b"another build")),
        ..f.aggregator()
    };
    let [_, responder] = meet(&f, other, f.provider("bank"));
    assert_eq!(refused(&responder), RefusalCode::EvidenceRefused);
    let Some(Err(HandshakeError::Refused(refusal))) = responder else {
        unreachable!()
    };
    assert_eq!(refusal.appraisal.unwrap().check(), CheckName::Measurement);
}

#[test]
fn simulated_evidence_of_another_federations_root_is_refused() {
    let f = Federation::new();
    let foreign = LocalParty {
        attester: Some(Federation::new().machine(AGGREGATOR)),
        ..f.aggregator()
    };
    check(
        &f,
        foreign,
        f.provider("bank"),
        RefusalCode::EvidenceRefused,
    );
}

#[test]
fn the_right_program_on_a_machine_that_the_contract_does_not_name_is_refused() {
    let f = Federation::new();
    let tributary_attest::SimulatedHardware::SevSnp(hardware) = f.platform.hardware().clone()
    else {
        panic!("the federation's platform plays SEV-SNP");
    };
    let only = |chip| {
        f.change(|terms| {
            let snp = terms.aggregator_policy.sev_snp.as_mut().unwrap();
            snp.chip_ids = tributary_attest::Criterion::Stated(vec![chip]);
        });
    };
    only(hardware.chip_id);
    for outcome in meet(&f, f.aggregator(), f.provider("bank")) {
        outcome.unwrap().unwrap();
    }
    only(tributary_attest::ChipId::new([7; 64]));
    check(
        &f,
        f.aggregator(),
        f.provider("bank"),
        RefusalCode::EvidenceRefused,
    );
}

#[test]
fn the_machine_of_another_role_is_refused() {
    // An agent's evidence in an aggregator's place, and the reverse: whoever holds the party's key, the program differs.
    let f = Federation::new();
    for (program, aggregator) in [(AGENT, true), (AGGREGATOR, false)] {
        let mut dialer = if aggregator {
            f.aggregator()
        } else {
            f.provider("bank")
        };
        dialer.attester = Some(f.machine(program));
        let responder = if aggregator {
            f.provider("bank")
        } else {
            f.aggregator()
        };
        check(&f, dialer, responder, RefusalCode::EvidenceRefused);
    }
}

#[test]
fn simulated_evidence_is_refused_where_the_contract_does_not_name_it() {
    let f = Federation::new();
    let root = SimulatedRoot::generate().unwrap().public_key();
    f.change(|terms| {
        terms.aggregator_policy = Policy {
            tees: vec![tributary_attest::Tee::SevSnp],
            simulated_roots: vec![],
            maximum_age_seconds: tributary_attest::Criterion::Any,
            ..Policy::simulated(root, [Measurement::of_bytes(AGGREGATOR)])
        };
    });
    check(
        &f,
        f.aggregator(),
        f.provider("bank"),
        RefusalCode::EvidenceRefused,
    );
}

#[test]
fn a_reflected_hello_is_refused() {
    let f = Federation::new();
    let (mut dialer, opening) = End::dial(&f, f.provider("bank"), DIALER, None);
    dialer.feed(&opening[0]);
    assert_eq!(refused(&dialer.outcome), RefusalCode::Reflection);
    // A connection whose both ends have one key is a reflection as well.
    let mirror = Link {
        keys: [tls(1), tls(1)],
        ..DIALER
    };
    let (mut dialer, _) = End::dial(&f, f.provider("bank"), mirror, None);
    let hello = End::dial(&f, f.provider("bank"), RESPONDER, None).1;
    dialer.feed(&hello[0]);
    assert_eq!(refused(&dialer.outcome), RefusalCode::Reflection);
}

#[test]
fn a_reflected_proof_is_refused_with_and_without_a_nonce_of_its_own() {
    let f = Federation::new();
    let (mut dialer, opening) = End::dial(&f, f.provider("bank"), DIALER, None);
    let echoed = edit_hello(&opening[0], |hello| {
        hello.nonce = crate::handshake::Nonce::from_bytes([99; 32])
    });
    let proof = dialer.feed(&echoed);
    dialer.feed(&proof[0]);
    assert_eq!(refused(&dialer.outcome), RefusalCode::Reflection);

    // The same evidence spelt otherwise would still fail: role and keys are the wrong way round.
    let (mut dialer, _) = End::dial(&f, f.provider("bank"), DIALER, None);
    let proof = dialer.feed(&echoed);
    dialer.feed(&edit_proof(&proof[0], |proof| proof.evidence.push(0)));
    assert_eq!(refused(&dialer.outcome), RefusalCode::PartySignature);
}

#[test]
fn a_proof_of_an_earlier_handshake_is_refused() {
    let f = Federation::new();
    let mut recorded = Vec::new();
    let [_, first] = meet_through(&f, f.aggregator(), f.provider("bank"), |from, frame| {
        if let From::Dialer(_) = from {
            recorded.push(frame.clone());
        }
        vec![frame]
    });
    first.unwrap().unwrap();
    let fresh = Link {
        nonce: 77,
        ..RESPONDER
    };
    let mut responder = End::respond(&f, f.provider("bank"), fresh, None);
    for frame in recorded {
        responder.feed(&frame);
    }
    assert_eq!(refused(&responder.outcome), RefusalCode::PartySignature);
}

#[test]
fn old_evidence_is_refused_even_where_the_party_signs_it_anew() {
    let f = Federation::new();
    let mut old = Vec::new();
    let fresh = Link {
        nonce: 76,
        ..DIALER
    };
    let (mut dialer, opening) = End::dial(&f, f.aggregator(), fresh, None);
    let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, None);
    pump(&mut dialer, opening, &mut responder, |from, frame| {
        if from == From::Dialer(1) {
            edit_proof(&frame, |proof| old = proof.evidence.clone());
        }
        vec![frame]
    });
    let [_, responder] = meet_signed(&f, |evidence| *evidence = old);
    assert_eq!(refused(&responder), RefusalCode::EvidenceNotForThisChannel);
}

#[test]
fn evidence_of_another_connection_is_refused() {
    let f = Federation::new();
    // Everything equal but the TLS session: what a man in the middle with the same nonces would have.
    for link in [
        Link {
            exporter: [8; 32],
            ..DIALER
        },
        Link {
            keys: [tls(9), tls(2)],
            ..DIALER
        },
        Link {
            keys: [tls(1), tls(9)],
            ..DIALER
        },
    ] {
        let (mut dialer, opening) = End::dial(&f, f.aggregator(), link, None);
        let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, None);
        pump(&mut dialer, opening, &mut responder, |_, frame| vec![frame]);
        let codes = [refused_or_told(&dialer), refused_or_told(&responder)];
        assert_eq!(codes, [Some(RefusalCode::PartySignature); 2]);
    }
}

fn refused_or_told(end: &End) -> Option<RefusalCode> {
    end.outcome.as_ref().unwrap().as_ref().unwrap_err().code()
}

#[test]
fn messages_out_of_order_are_refused() {
    let f = Federation::new();
    let accept = Message::Accept.encode();
    let (mut dialer, opening) = End::dial(&f, f.aggregator(), DIALER, None);
    dialer.feed(&accept);
    assert_eq!(refused(&dialer.outcome), RefusalCode::WrongOrder);

    let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, None);
    responder.feed(&opening[0]);
    responder.feed(&opening[0]);
    assert_eq!(refused(&responder.outcome), RefusalCode::WrongOrder);

    let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, None);
    responder.feed(&opening[0]);
    responder.feed(&accept);
    assert_eq!(refused(&responder.outcome), RefusalCode::WrongOrder);

    // Proof twice, in place of Accept.
    let [_, responder] =
        meet_through(
            &f,
            f.aggregator(),
            f.provider("bank"),
            |from, frame| match from {
                From::Dialer(1) => vec![frame.clone(), frame],
                _ => vec![frame],
            },
        );
    assert_eq!(refused(&responder), RefusalCode::WrongOrder);
}

#[test]
fn trailing_bytes_are_refused_in_every_message() {
    let f = Federation::new();
    for number in 0..3 {
        let [_, responder] =
            meet_through(&f, f.aggregator(), f.provider("bank"), |from, mut frame| {
                if from == From::Dialer(number) {
                    frame.push(0);
                }
                vec![frame]
            });
        assert_eq!(refused(&responder), RefusalCode::TrailingBytes);
    }
}

#[test]
fn a_machine_that_cannot_attest_says_so_to_both() {
    struct Broken;
    impl tributary_attest::Attester for Broken {
        fn tee(&self) -> tributary_attest::Tee {
            tributary_attest::Tee::SevSnp
        }
        fn measurement(&self) -> Option<Measurement> {
            None
        }
        fn attest(
            &self,
            _: &tributary_attest::ReportData,
        ) -> Result<tributary_attest::Evidence, tributary_attest::AttestError> {
            let source = tributary_attest::Evidence::from_bytes(b"").unwrap_err();
            Err(tributary_attest::AttestError::Container {
                tee: self.tee(),
                source,
            })
        }
    }
    let f = Federation::new();
    let broken = LocalParty {
        attester: Some(Arc::new(Broken)),
        ..f.provider("bank")
    };
    check(&f, f.aggregator(), broken, RefusalCode::NoEvidenceHere);
}

/// An aggregator whose evidence is changed before its party signs it.
fn meet_signed(
    f: &Arc<Federation>,
    change: impl FnOnce(&mut Vec<u8>),
) -> [Option<Result<crate::handshake::Accepted, HandshakeError>>; 2] {
    use crate::handshake::transcript::{Speaker, Transcript};
    let mut change = Some(change);
    let mut exporter = [3; 32];
    let context = [[4; 32], [5; 32]].concat();
    exporter
        .iter_mut()
        .zip(context.chunks(2))
        .for_each(|(e, c): (&mut u8, &[u8])| *e ^= c[0] ^ c[1].rotate_left(1));
    let transcript = Transcript {
        exporter,
        dialer_nonce: crate::handshake::Nonce::from_bytes([4; 32]),
        responder_nonce: crate::handshake::Nonce::from_bytes([5; 32]),
        contract: f.contract,
    };
    let key = noise(7);
    let speaker = Speaker {
        role: Role::Aggregator,
        tls: &DIALER.keys[0],
        peer_tls: &DIALER.keys[1],
        noise: Some(&key),
    };
    meet_through(f, f.aggregator(), f.provider("bank"), |from, frame| {
        vec![match from {
            From::Dialer(1) => edit_proof(&frame, |proof| {
                change.take().unwrap()(&mut proof.evidence);
                let message = transcript.party_message(speaker, &name("lab"), &proof.evidence);
                proof.signature = f.consumer.sign(&message);
            }),
            _ => frame,
        }]
    })
}

fn edit_hello(frame: &[u8], edit: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let Message::Hello(mut hello) = Message::decode(&frame[FRAME_HEADER..]).unwrap() else {
        panic!("expected Hello")
    };
    edit(&mut hello);
    Message::Hello(hello).encode()
}

fn edit_proof(frame: &[u8], edit: impl FnOnce(&mut Proof)) -> Vec<u8> {
    let Message::Proof(mut proof) = Message::decode(&frame[FRAME_HEADER..]).unwrap() else {
        panic!("expected Proof")
    };
    edit(&mut proof);
    Message::Proof(proof).encode()
}
