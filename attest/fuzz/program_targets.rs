//! What the fuzz targets of the program's own readers do with their input; the program's tests replay the seeds.

use tributary_attest_program::{Input, amd_intermediate, describe_certificates};

/// Any file: evidence that is told from its content is evidence, and none is more than one thing.
pub fn input_kind(data: &[u8]) {
    let Ok(input) = Input::of(data.to_vec()) else {
        return;
    };
    assert!(!input.name().is_empty());
    let container = matches!(input, Input::Container(_));
    if let Ok(evidence) = input.into_evidence(Vec::new()) {
        let written = evidence.to_bytes();
        if container {
            assert_eq!(written, data);
        } else {
            assert_eq!(evidence.report(), data);
        }
        assert!(matches!(Input::of(written), Ok(Input::Container(_))));
    }
}

/// Certificates as `attest show` prints them: each an object, and no more of them than the bytes can hold.
pub fn certificates(data: &[u8]) {
    if let Ok(certificates) = describe_certificates(data) {
        assert!(!certificates.is_empty() && certificates.len() <= data.len() / 16);
        for certificate in certificates {
            assert!(certificate["subject"].is_string());
            assert!(
                certificate["bytes"]
                    .as_u64()
                    .is_some_and(|bytes| bytes <= data.len() as u64)
            );
        }
    }
}

/// The chain that AMD's service sends.
pub fn kds_chain(data: &[u8]) {
    if let Ok(der) = std::str::from_utf8(data)
        .map_err(drop)
        .and_then(|text| amd_intermediate(text).map_err(drop))
    {
        assert!(der.len() <= data.len());
    }
}
