//! Whatever the peer sends, a handshake ends in an outcome and never in a panic.

use proptest::prelude::*;

use super::{
    driver::{DIALER, End, From, RESPONDER, meet_through, pump},
    federation::Federation,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_frames_never_panic_and_never_convince(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
        as_dialer: bool,
    ) {
        let f = Federation::new();
        let mut end = match as_dialer {
            true => End::dial(&f, f.aggregator(), DIALER, None).0,
            false => End::respond(&f, f.provider("bank"), RESPONDER, None),
        };
        for frame in &frames {
            end.feed(frame);
        }
        prop_assert!(!matches!(end.outcome, Some(Ok(_))));
    }

    #[test]
    fn one_changed_bit_anywhere_ends_the_handshake(number in 0..3_usize, position: prop::sample::Index, bit in 0..8) {
        let f = Federation::new();
        let [_, responder] = meet_through(&f, f.aggregator(), f.provider("bank"), |from, mut frame| {
            if from == From::Dialer(number) {
                let body = position.index(frame.len() - 4);
                frame[4 + body] ^= 1_u8 << bit;
            }
            vec![frame]
        });
        prop_assert!(!matches!(responder, Some(Ok(_))));
    }

    #[test]
    fn a_truncated_frame_ends_the_handshake(number in 0..3_usize, cut: prop::sample::Index) {
        let f = Federation::new();
        let (mut dialer, opening) = End::dial(&f, f.aggregator(), DIALER, None);
        let mut responder = End::respond(&f, f.provider("bank"), RESPONDER, None);
        pump(&mut dialer, opening, &mut responder, |from, mut frame| {
            if from == From::Dialer(number) {
                frame.truncate(4 + cut.index(frame.len() - 4));
            }
            vec![frame]
        });
        prop_assert!(!matches!(responder.outcome, Some(Ok(_))));
    }
}
