use super::*;
use proptest::prelude::*;

fn column(name: &str, kind: ColumnType) -> Column {
    Column {
        name: name.parse().unwrap(),
        kind,
    }
}

fn schema() -> DatasetSchema {
    DatasetSchema::new(vec![
        column(
            "image",
            ColumnType::ImageU8 {
                height: 28,
                width: 28,
                channels: 1,
            },
        ),
        column("label", ColumnType::Label { classes: 10 }),
    ])
    .unwrap()
}

fn part(number: u32) -> Part {
    Part {
        number: number.into(),
        file: format!("part-{number}.parquet").parse().unwrap(),
        sha256: Digest::of(&number.to_be_bytes()),
        bytes: 1000,
        rows: 10,
        key: WrappedKey {
            vault_key: 1,
            nonce: [3; 12],
            sealed: [4; 48],
        },
    }
}

fn manifest() -> Manifest {
    Manifest::new(ManifestParts {
        dataset: "digits".parse().unwrap(),
        owner: "hospital-1".parse().unwrap(),
        id: DatasetId::from_bytes([7; 16]),
        version: 2.into(),
        previous: Some(Digest::of(b"version 1")),
        schema: schema(),
        parts: vec![part(1), part(2)],
        created: DateTime::UNIX_EPOCH,
    })
    .unwrap()
}

#[test]
fn a_signed_manifest_is_read_back_and_named_by_its_payload() {
    let owner = Identity::generate();
    let envelope = manifest().sign(&owner);
    let read = Envelope::from_json(&envelope.to_json()).unwrap();
    assert_eq!(
        Manifest::verify(&read, &owner.public()).unwrap(),
        manifest()
    );
    assert_eq!(read.payload_digest(), envelope.payload_digest());
    assert_eq!(manifest().rows(), 20);
}

#[test]
fn another_signer_an_altered_payload_and_another_type_are_refused() {
    let owner = Identity::generate();
    let envelope = manifest().sign(&owner);
    let stranger = Identity::generate().public();
    assert!(matches!(
        Manifest::verify(&envelope, &stranger),
        Err(ManifestError::Signature(_))
    ));
    let text = String::from_utf8(envelope.payload().to_vec()).unwrap();
    let altered = text.replace("\"rows\": 20", "\"rows\": 21").into_bytes();
    let mut forged = Envelope::unsigned(MANIFEST_PAYLOAD_TYPE, altered);
    assert!(!forged.merge(&envelope));
    assert!(Manifest::verify(&forged, &owner.public()).is_err());
    let other = Envelope::sign("text/plain", envelope.payload().to_vec(), &owner);
    assert!(matches!(
        Manifest::verify(&other, &owner.public()),
        Err(ManifestError::Envelope(_))
    ));
}

#[test]
fn contradictions_are_refused_by_name() {
    let good: serde_json::Value =
        serde_json::from_slice(manifest().sign(&Identity::generate()).payload()).unwrap();
    let check = |pointer: &str, value: serde_json::Value, expect: &str| {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let error = Manifest::parse(bad.to_string().as_bytes()).unwrap_err();
        let said = match &error {
            ManifestError::Json(source) => source.to_string(),
            other => other.to_string(),
        };
        assert!(said.contains(expect), "{pointer}: {said}");
    };
    check("/schema_version", 2.into(), "schema_version");
    check("/version", 0.into(), "version");
    check("/version", 1.into(), "previous");
    check("/previous", serde_json::Value::Null, "previous");
    check("/rows", 19.into(), "rows");
    check("/parts", serde_json::json!([]), "parts");
    check("/parts/0/number", 2.into(), "part number");
    check("/parts/1/file", "part-1.parquet".into(), "part file");
    check("/parts/1/file", "../part-2.parquet".into(), "file name");
    check("/parts/1/rows", 0.into(), "part rows");
    check("/parts/1/rows", u64::MAX.into(), "rows");
    check("/columns", serde_json::json!([]), "columns");
    check("/columns/1/name", "image".into(), "twice");
    check(
        "/columns/1/type",
        serde_json::json!({"label": {"classes": 1}}),
        "classes",
    );
    check(
        "/columns/1/type",
        serde_json::json!({"label": {"classes": 10, "extra": 1}}),
        "extra",
    );
    let mut unknown = good.clone();
    unknown["extra"] = 1.into();
    assert!(Manifest::parse(unknown.to_string().as_bytes()).is_err());
}

#[test]
fn values_of_no_size_or_beyond_the_limit_are_refused() {
    for kind in [
        ColumnType::U8Bytes { len: 0 },
        ColumnType::Utf8 {
            max_bytes: u32::MAX,
        },
        ColumnType::ImageU8 {
            height: u32::MAX,
            width: u32::MAX,
            channels: u32::MAX,
        },
        ColumnType::Label { classes: 65_537 },
    ] {
        assert!(DatasetSchema::new(vec![column("a", kind)]).is_err());
    }
}

#[test]
fn a_projection_keeps_the_order_asked_for_and_knows_its_columns() {
    let names = ["label".parse().unwrap(), "image".parse().unwrap()];
    let projected = schema().project(&names).unwrap();
    assert_eq!(projected.columns()[0].name.as_str(), "label");
    assert!(matches!(
        schema().project(&["age".parse().unwrap()]),
        Err(SchemaError::Unknown { .. })
    ));
}

#[test]
fn the_published_schema_accepts_what_is_written() {
    let schema = serde_json::to_value(Manifest::json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut value: serde_json::Value =
        serde_json::from_slice(manifest().sign(&Identity::generate()).payload()).unwrap();
    assert!(validator.is_valid(&value));
    value["extra"] = 1.into();
    assert!(!validator.is_valid(&value));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn names_are_refused_or_kept(text: String) {
        if let Ok(name) = text.parse::<ColumnName>() {
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
