//! How AMD's and Intel's services are asked, and what is taken from them.

use tributary_collateral_fetch::{
    FetchError, FetchOptions, Fetcher, Fmspc, Kds, KeyKind, PckCa, Pcs, ServiceUrl, SnpFirmware,
};

use crate::support::{Reply, Service};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const FIRMWARE: SnpFirmware = SnpFirmware {
    fmc: None,
    bootloader: 3,
    tee: 0,
    snp: 8,
    microcode: 115,
};

fn fetcher() -> Fetcher {
    Fetcher::new(&FetchOptions::default())
        .unwrap()
        .with_time(chrono::Utc::now, |_| ())
}

fn url(service: &Service) -> ServiceUrl {
    service.url().parse().unwrap()
}

#[test]
fn amd_is_asked_by_chip_and_firmware() {
    let service = Service::by_target(|target| match target {
        chain if chain.ends_with("cert_chain") => Reply::ok("", PEM.as_bytes()),
        _ => Reply::ok("", &[0x30, 0x00]),
    });
    let fetcher = fetcher();
    let kds = Kds::new(&fetcher, url(&service));
    assert_eq!(
        kds.vcek("Milan", &[0xab; 64], &FIRMWARE).unwrap(),
        [0x30, 0]
    );
    let turin = SnpFirmware {
        fmc: Some(1),
        ..FIRMWARE
    };
    kds.vcek("Turin", &[1, 2, 3, 4, 5, 6, 7, 8], &turin)
        .unwrap();
    assert_eq!(kds.chain("Genoa", KeyKind::Vcek).unwrap(), PEM);
    assert_eq!(kds.chain("Milan", KeyKind::Vlek).unwrap(), PEM);
    kds.revocations("Turin", KeyKind::Vcek).unwrap();
    assert_eq!(
        *service.asked.lock().unwrap(),
        [
            format!(
                "/vcek/v1/Milan/{}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
                "ab".repeat(64)
            ),
            "/vcek/v1/Turin/0102030405060708?fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
                .to_owned(),
            "/vcek/v1/Genoa/cert_chain".to_owned(),
            "/vlek/v1/Milan/cert_chain".to_owned(),
            "/vcek/v1/Turin/crl".to_owned(),
        ]
    );
}

#[test]
fn amds_answers_of_another_kind_are_refused() {
    let service = Service::in_turn([Reply::ok("", b"<html>wait a moment</html>")]);
    let fetcher = fetcher();
    let kds = Kds::new(&fetcher, url(&service));
    for error in [
        kds.vcek("Milan", &[1; 64], &FIRMWARE).unwrap_err(),
        kds.chain("Milan", KeyKind::Vcek).unwrap_err(),
        kds.revocations("Milan", KeyKind::Vlek).unwrap_err(),
    ] {
        assert!(matches!(error, FetchError::Content { .. }), "{error}");
        assert!(error.to_string().contains("<html>wait"), "{error}");
    }
}

/// What one of Intel's documents is replaced by.
type Change = fn(&str) -> Option<Reply>;

/// A cache of Intel's service, as it answers but for what is changed.
fn pccs(change: Change) -> Service {
    Service::by_target(move |target| {
        let path = target.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(reply) = change(name) {
            return reply;
        }
        let chain = PEM.replace('\n', "%0A").replace(' ', "%20");
        let signature = "07".repeat(64);
        match name {
            "pckcrl" => Reply::ok(
                &format!("SGX-PCK-CRL-Issuer-Chain: {chain}\r\n"),
                &[0x30, 0x82, 0, 1, 1],
            ),
            "tcb" => Reply::ok(
                &format!("TCB-Info-Issuer-Chain: {chain}\r\n"),
                // The order of fields and the spaces are signed.
                format!("{{\"tcbInfo\":{{\"z\":1, \"a\":2}},\"signature\":\"{signature}\"}}")
                    .as_bytes(),
            ),
            "identity" => Reply::ok(
                &format!("SGX-Enclave-Identity-Issuer-Chain: {chain}\r\n"),
                format!("{{\"enclaveIdentity\":{{\"q\":1}},\"signature\":\"{signature}\"}}")
                    .as_bytes(),
            ),
            "rootcacrl" => Reply::ok("", b"3082000102"),
            _ => Reply::status("404 Not Found", "", b""),
        }
    })
}

const FMSPC: Fmspc = Fmspc([0xb0, 0xc0, 0x6f, 0, 0, 0]);

#[test]
fn intels_documents_are_kept_byte_for_byte() {
    let service = pccs(|_| None);
    let fetcher = fetcher();
    let collateral = Pcs::new(&fetcher, url(&service))
        .tdx_collateral(FMSPC, PckCa::Platform)
        .unwrap();
    let json = serde_json::to_value(&collateral).unwrap();
    assert_eq!(json["tcb_info"], "{\"z\":1, \"a\":2}");
    assert_eq!(json["qe_identity"], "{\"q\":1}");
    assert_eq!(json["tcb_info_signature"], "07".repeat(64));
    assert_eq!(json["pck_crl"], "3082000101");
    assert_eq!(json["root_ca_crl"], "3082000102");
    for chain in ["pck_crl", "tcb_info", "qe_identity"] {
        assert_eq!(json[format!("{chain}_issuer_chain")], PEM);
    }
    assert_eq!(
        *service.asked.lock().unwrap(),
        [
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            "/tdx/certification/v4/tcb?fmspc=B0C06F000000",
            "/tdx/certification/v4/qe/identity",
            "/sgx/certification/v4/rootcacrl",
        ]
    );
}

#[test]
fn intels_answers_of_another_kind_are_refused() {
    let changes: [Change; 7] = [
        |name| (name == "pckcrl").then(|| Reply::ok("", &[0x30, 0x82, 0, 1, 1])),
        |name| {
            (name == "pckcrl").then(|| {
                Reply::ok(
                    "SGX-PCK-CRL-Issuer-Chain: other\r\n",
                    &[0x30, 0x82, 0, 1, 1],
                )
            })
        },
        |name| (name == "tcb").then(|| Reply::ok("", b"{\"tcbInfo\":{}}")),
        |name| (name == "tcb").then(|| Reply::ok("", b"{\"tcbInfo\":{},\"signature\":\"0707\"}")),
        |name| (name == "identity").then(|| Reply::ok("", b"<html>")),
        |name| (name == "rootcacrl").then(|| Reply::ok("", b"not hexadecimal")),
        |name| (name == "identity").then(|| Reply::ok("", b"")),
    ];
    let fetcher = fetcher();
    for (number, change) in changes.into_iter().enumerate() {
        let service = pccs(change);
        let error = Pcs::new(&fetcher, url(&service))
            .tdx_collateral(FMSPC, PckCa::Processor)
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Content { .. }),
            "{number}: {error}"
        );
    }
}
