//! A federation in which every criterion is stated and the machine meets every one.
#![allow(dead_code, missing_docs)]

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tributary_attest::{
    Attester, CheckName, CheckResult, CodeRule, Collateral, Criterion, Evidence, EvidenceAge,
    LaunchConfig, Measurement, PlatformConfig, Policy, ProductId, Refusal, ReportData,
    SecurityVersion, SignerDigest, SimulatedHardware, SimulatedLaunch, SimulatedPlatform,
    SimulatedRoot, SnpPolicy, TdxPolicy, Verdict, appraise,
};

pub(crate) struct Federation {
    pub(crate) root: SimulatedRoot,
    pub(crate) platform: PlatformConfig,
    pub(crate) program: Measurement,
    pub(crate) report_layout: u32,
    pub(crate) policy: Policy,
    pub(crate) now: DateTime<Utc>,
    pub(crate) issued_at: DateTime<Utc>,
}

/// Which hardware the platform plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    SevSnp,
    Tdx,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::SevSnp, Self::Tdx];

    /// The key of the kind in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
        }
    }
}

impl Federation {
    pub(crate) fn new(kind: Kind) -> Self {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let root = SimulatedRoot::from_seed(&[1; 32]);
        let (hardware, launch) = match kind {
            Kind::SevSnp => (SimulatedHardware::random_snp().unwrap(), snp_launch()),
            Kind::Tdx => (SimulatedHardware::random_tdx().unwrap(), tdx_launch()),
        };
        let hardware = hardware
            .with_changes(&json!({ kind.key(): hardware_of(kind) }).to_string())
            .unwrap();
        let launch = SimulatedLaunch::on(&hardware)
            .with_changes(&json!({ kind.key(): launch }).to_string())
            .unwrap();
        let mut policy = Policy {
            sev_snp: None,
            maximum_age_seconds: Criterion::Stated(EvidenceAge(300)),
            ..Policy::simulated(root.public_key(), [program()])
        };
        match kind {
            Kind::SevSnp => {
                policy.signers = Criterion::Stated(vec![SignerDigest::new([4; 48])]);
                policy.product_id = Criterion::Stated(ProductId::from_number(2));
                policy.minimum_svn = Criterion::Stated(SecurityVersion(5));
                policy.sev_snp = Some(snp_policy());
            }
            Kind::Tdx => policy.tdx = Some(tdx_policy()),
        }
        Self {
            root,
            platform: PlatformConfig {
                launch,
                not_before: now - TimeDelta::days(1),
                not_after: now + TimeDelta::days(1),
                ..PlatformConfig::on("agent-1", hardware, now)
            },
            program: program(),
            report_layout: LaunchConfig::default().report_layout,
            policy,
            now,
            issued_at: now,
        }
    }

    pub(crate) fn certified(&self) -> SimulatedPlatform {
        self.root.certify(self.platform.clone()).unwrap()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.evidence_for(&expected())
    }

    pub(crate) fn evidence_for(&self, report_data: &ReportData) -> Evidence {
        let issued_at = self.issued_at;
        let config = LaunchConfig {
            report_layout: self.report_layout,
            ..LaunchConfig::default()
        };
        self.certified()
            .launch(self.program, config)
            .with_clock(move || issued_at)
            .attest(report_data)
            .unwrap()
    }

    pub(crate) fn appraise(&self, evidence: &Evidence) -> Result<Verdict, Refusal> {
        appraise(
            &self.policy,
            evidence,
            &expected(),
            &self.collateral(),
            self.now,
        )
    }

    /// A list of the root that takes nobody back, at any time.
    fn collateral(&self) -> Collateral {
        let [from, until] = [0, 4_000_000_000].map(|at| DateTime::from_timestamp(at, 0).unwrap());
        let list = self.root.revoke([], from, until).unwrap();
        let mut collateral = Collateral::empty();
        collateral.put("simulated/federation.crl", &list).unwrap();
        collateral
    }

    /// Changes the hardware by the fields of its kind.
    pub(crate) fn change_hardware(&mut self, changes: Value) {
        let changes = json!({ self.key(): changes }).to_string();
        self.platform.hardware = self.platform.hardware.with_changes(&changes).unwrap();
    }

    /// Changes the launch by the fields of its kind.
    pub(crate) fn change_launch(&mut self, changes: Value) {
        let changes = json!({ self.key(): changes }).to_string();
        self.platform.launch = self.platform.launch.with_changes(&changes).unwrap();
    }

    fn key(&self) -> &'static str {
        match self.platform.hardware {
            SimulatedHardware::SevSnp(_) => "sev-snp",
            SimulatedHardware::Tdx(_) => "tdx",
        }
    }
}

pub(crate) fn program() -> Measurement {
    Measurement::of_bytes(b"the program")
}

pub(crate) fn expected() -> ReportData {
    ReportData::new([9; 64])
}

/// Applies one change; exactly the named check must fail, and the refusal must say what and how to mend.
pub(crate) fn refused(
    kind: Kind,
    name: CheckName,
    change: impl FnOnce(&mut Federation),
) -> Refusal {
    let mut federation = Federation::new(kind);
    change(&mut federation);
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    assert_refused_by(name, &refusal);
    refusal
}

pub(crate) fn assert_refused_by(name: CheckName, refusal: &Refusal) {
    let failed: Vec<CheckName> = refusal
        .checks()
        .iter()
        .filter(|check| check.result == CheckResult::Fail)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, [name], "{refusal}");
    assert_eq!(refusal.check(), name);
    assert_eq!(refusal.code(), format!("attestation-{name}"));
    assert_eq!(refusal.exit_code(), 10);
    let said = refusal.to_string();
    for part in [refusal.expected(), refusal.got(), refusal.mend()] {
        assert!(!part.is_empty() && said.contains(part), "{said}");
    }
    assert_ne!(refusal.expected(), refusal.got());
}

pub(crate) fn digest(byte: &str) -> String {
    byte.repeat(48)
}

fn tcb() -> Value {
    json!({"bootloader": 3, "tee": 1, "snp": 8, "microcode": 115})
}

fn hardware_of(kind: Kind) -> Value {
    match kind {
        Kind::SevSnp => json!({
            "product": "milan",
            "chip_id": "07".repeat(64),
            "current_tcb": tcb(),
            "reported_tcb": tcb(),
            "committed_tcb": tcb(),
            "platform_info": {"smt_en": true, "tsme_en": true, "ecc_en": true, "rapl_dis": true,
                "ciphertext_hiding_dram_en": true, "alias_check_complete": true, "tio_en": false},
            "current_mit_vector": "0000000000000003",
        }),
        Kind::Tdx => json!({
            "mr_seam": digest("0a"),
            "mr_signer_seam": digest("00"),
            "platform_instance_id": "07".repeat(16),
            "tcb": {"status": "SWHardeningNeeded", "advisory_ids": ["INTEL-SA-00001"],
                "evaluation_data_number": 17},
        }),
    }
}

fn snp_launch() -> Value {
    json!({
        "guest_svn": 5,
        "guest_policy": {"minimum_abi": "1.55", "smt_allowed": false, "single_socket_required": true,
            "mem_aes_256_xts_required": true, "rapl_dis_required": true,
            "ciphertext_hiding_dram_required": true, "page_swap_disabled": true},
        "family_id": "01".repeat(16),
        "image_id": ProductId::from_number(2),
        "launch_tcb": tcb(),
        "host_data": "02".repeat(32),
        "id_key_digest": digest("03"),
        "author_key_en": true,
        "author_key_digest": digest("04"),
        "launch_mit_vector": "0000000000000003",
    })
}

fn snp_policy() -> SnpPolicy {
    let floor = json!({"milan": tcb()});
    serde_json::from_value(json!({
        "minimum_reported_tcb": floor,
        "minimum_committed_tcb": floor,
        "minimum_launch_tcb": floor,
        "vmpls": [0],
        "guest_policy": {"minimum_abi": "1.55", "smt": "forbidden", "migration_agent": "forbidden",
            "single_socket": "required", "cxl": "forbidden", "mem_aes_256_xts": "required",
            "rapl_dis": "required", "ciphertext_hiding_dram": "required", "page_swap_disable": "required"},
        "platform_info": {"smt": "required", "tsme": "required", "ecc": "required", "rapl_dis": "required",
            "ciphertext_hiding_dram": "required", "alias_check_complete": "required", "tio": "forbidden"},
        "family_id": "01".repeat(16),
        "host_data": "02".repeat(32),
        "id_keys": [digest("03")],
        "author_keys": [digest("04")],
        "signing_keys": ["vcek"],
        "chip_ids": ["07".repeat(64)],
        "launch_mitigations": "0000000000000003",
        "current_mitigations": "0000000000000003",
    }))
    .unwrap()
}

fn tdx_launch() -> Value {
    json!({
        "rtmrs": [digest("10"), digest("11"), digest("12"), digest("13")],
        "mr_config_id": digest("14"),
        "mr_owner": digest("15"),
        "mr_owner_config": digest("16"),
    })
}

fn tdx_policy() -> TdxPolicy {
    serde_json::from_value(json!({
        "mrtd": [program()],
        "rtmr0": [digest("10")],
        "rtmr1": [digest("11")],
        "rtmr2": [digest("12")],
        "rtmr3": [digest("13")],
        "mr_config_id": [digest("14")],
        "mr_owner": [digest("15")],
        "mr_owner_config": [digest("16")],
        "xfam": ["e702060000000000"],
        "td_attributes": ["0000001000000000"],
        "mr_seam": [digest("0a")],
        "mr_signer_seam": [digest("00")],
        "tcb_statuses": ["UpToDate", "SWHardeningNeeded"],
        "advisory_ids": ["INTEL-SA-00001", "INTEL-SA-00002"],
        "minimum_tcb_evaluation_data_number": 17,
        "platform_instance_ids": ["07".repeat(16)],
    }))
    .unwrap()
}

/// The federation's policy with every criterion set to any.
pub(crate) fn any_policy(policy: &Policy) -> Policy {
    Policy {
        code: CodeRule::MeasurementAndSigner,
        measurements: Criterion::Any,
        signers: Criterion::Any,
        product_id: Criterion::Any,
        minimum_svn: Criterion::Any,
        debug: tributary_attest::DebugRule::Allowed,
        tier: Criterion::Any,
        maximum_age_seconds: Criterion::Any,
        sev_snp: policy.sev_snp.as_ref().map(|_| SnpPolicy::any()),
        tdx: policy.tdx.as_ref().map(|_| TdxPolicy::any()),
        ..policy.clone()
    }
}
