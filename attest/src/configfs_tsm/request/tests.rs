use std::{collections::BTreeSet, fs, path::Path, sync::Mutex};

use super::*;
use crate::configfs_tsm::{
    filesystem::KernelFolder,
    stand_in::{
        EACCES, EAGAIN, EBUSY, EFBIG, EINTR, EINVAL, ENXIO, ETIMEDOUT, Fault, Maker, StandIn,
    },
};

/// The data and the level, where a signature would be.
fn echo() -> Maker {
    Box::new(|data, level| [data, &[level]].concat())
}

fn sev() -> StandIn {
    StandIn::sev_guest(echo(), vec![9; 40])
}

fn ask_sev(filesystem: &StandIn) -> Result<TsmReport, TsmError> {
    request_report(filesystem, Provider::SevGuest, None, &[7; 64])
}

fn report() -> TsmReport {
    TsmReport {
        outblob: [&[7; 64][..], &[0]].concat(),
        auxblob: vec![9; 40],
    }
}

#[test]
fn a_report_comes_for_the_data_and_its_folder_goes() {
    let filesystem = sev();
    assert_eq!(ask_sev(&filesystem).unwrap(), report());
    assert_eq!((filesystem.left(), filesystem.waits().len()), (0, 0));
}

#[test]
fn every_request_has_a_name_of_its_own() {
    let filesystem = sev();
    for _ in 0..20 {
        ask_sev(&filesystem).unwrap();
    }
    let names: BTreeSet<_> = filesystem.names().into_iter().collect();
    assert_eq!(names.len(), 20);
    for name in names {
        let random = name.strip_prefix("tributary-").unwrap();
        assert_eq!(hex::decode(random).unwrap().len(), 16);
    }
}

#[test]
fn tdx_has_neither_levels_nor_a_table() {
    let filesystem = StandIn::tdx_guest(echo());
    let report = request_report(&filesystem, Provider::TdxGuest, None, &[7; 64]).unwrap();
    assert!(report.auxblob.is_empty());
    assert_eq!(filesystem.left(), 0);
}

#[test]
fn another_provider_is_refused() {
    let error = request_report(&sev(), Provider::TdxGuest, None, &[7; 64]).unwrap_err();
    assert!(
        matches!(&error, TsmError::Provider { expected: "tdx_guest", got } if got == "sev_guest"),
        "{error}"
    );
    let filesystem = sev().with(Fault::ProviderSwapped, 1);
    let error = ask_sev(&filesystem).unwrap_err();
    assert!(matches!(error, TsmError::Provider { .. }), "{error}");
    assert_eq!(filesystem.left(), 0);
}

#[test]
fn the_level_is_the_floor_where_none_is_asked_for_and_never_below_it() {
    let at = |floor, asked: Option<u8>| {
        let filesystem = StandIn::new("sev_guest", floor, Some(Vec::new()), echo());
        let level = asked.map(|level| Vmpl::try_from(level).unwrap());
        let outcome = request_report(&filesystem, Provider::SevGuest, level, &[7; 64]);
        assert_eq!(filesystem.left(), 0);
        outcome.map(|report| report.outblob[64])
    };
    assert_eq!(at(Some("2\n"), None).unwrap(), 2);
    assert_eq!(at(Some("2\n"), Some(3)).unwrap(), 3);
    assert_eq!(at(Some("0\n"), Some(1)).unwrap(), 1);
    assert_eq!(at(None, None).unwrap(), 0);
    let error = at(Some("2\n"), Some(0)).unwrap_err();
    assert!(
        matches!(error, TsmError::PrivilegeLevel { asked: 0, floor: 2 }),
        "{error}"
    );
    assert!(matches!(
        at(None, Some(0)),
        Err(TsmError::Attribute {
            attribute: "privlevel_floor",
            ..
        })
    ));
    for malformed in ["4\n", "\n", "high\n", "-1\n"] {
        assert!(matches!(
            at(Some(malformed), None),
            Err(TsmError::Malformed { .. })
        ));
    }
}

#[test]
fn a_race_is_tried_again_a_few_times_and_then_refused() {
    for fault in [
        Fault::OtherWriter,
        Fault::WriterBetweenReads,
        Fault::LostWrite,
    ] {
        let filesystem = sev().with(fault, 2);
        assert_eq!(ask_sev(&filesystem).unwrap(), report(), "{fault:?}");
        assert_eq!((filesystem.names().len(), filesystem.left()), (3, 0));

        let filesystem = sev().with(fault, u32::MAX);
        let error = ask_sev(&filesystem).unwrap_err();
        assert!(matches!(error, TsmError::Raced { .. }), "{error}");
        assert_eq!(
            (filesystem.names().len(), filesystem.left()),
            (ATTEMPTS as usize, 0)
        );
        let waits = filesystem.waits();
        assert_eq!(waits.len() as u32, ATTEMPTS - 1);
        assert!(waits.is_sorted() && waits[0] == FIRST_WAIT);
    }
}

#[test]
fn a_busy_machine_is_asked_again_and_a_broken_one_is_not() {
    for errno in [EBUSY, EAGAIN, EINTR, ETIMEDOUT] {
        for attribute in ["outblob", "inblob", "auxblob", "privlevel"] {
            let filesystem = sev().with(Fault::Errno(attribute, errno), 2);
            assert_eq!(ask_sev(&filesystem).unwrap(), report(), "{attribute}");
            assert_eq!(filesystem.left(), 0);
            let filesystem = sev().with(Fault::Errno(attribute, errno), u32::MAX);
            assert!(ask_sev(&filesystem).is_err());
            assert_eq!(filesystem.left(), 0);
        }
    }
    for errno in [EINVAL, ENXIO, EFBIG, EACCES] {
        for attribute in ["provider", "generation", "outblob", "inblob", "auxblob"] {
            let filesystem = sev().with(Fault::Errno(attribute, errno), 1);
            let error = ask_sev(&filesystem).unwrap_err();
            assert!(
                matches!(error, TsmError::Attribute { attribute: named, .. } if named == attribute),
                "{error}"
            );
            assert_eq!((filesystem.names().len(), filesystem.left()), (1, 0));
        }
    }
}

#[test]
fn a_folder_that_cannot_be_made_or_removed_is_told() {
    for (errno, expected) in [
        (2, "mount configfs"),
        (ENXIO, "has no provider"),
        (EACCES, "could not be made"),
    ] {
        let error = ask_sev(&sev().with(Fault::Create(errno), 1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let filesystem = sev().with(Fault::Create(17), 1);
    assert_eq!(ask_sev(&filesystem).unwrap(), report());
    let error = ask_sev(&sev().with(Fault::Remove(EBUSY), 1)).unwrap_err();
    assert!(
        error.to_string().contains("could not be removed"),
        "{error}"
    );
}

#[test]
fn blobs_beyond_the_kernels_own_limit_are_refused() {
    let long = StandIn::sev_guest(Box::new(|_, _| vec![0; MAX_BLOB + 1]), Vec::new());
    let error = ask_sev(&long).unwrap_err();
    assert!(matches!(error, TsmError::TooLarge { .. }), "{error}");
    let long = StandIn::sev_guest(echo(), vec![0; MAX_BLOB + 1]);
    let error = ask_sev(&long).unwrap_err();
    assert!(
        matches!(
            error,
            TsmError::TooLarge {
                attribute: "auxblob",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_provider_is_named_whoever_it_is() {
    let other = StandIn::new("cca_guest", None, None, echo());
    assert_eq!(provider_here(&other).unwrap(), "cca_guest");
    assert_eq!(other.left(), 0);
}

/// A folder on disk whose attributes follow what is written, as the kernel's do.
struct OnDisk {
    folder: KernelFolder,
    generation: Mutex<u64>,
}

impl OnDisk {
    fn put(&self, request: &str, attribute: &str, bytes: &[u8]) {
        fs::write(self.folder.folder().join(request).join(attribute), bytes).unwrap();
    }
}

impl TsmFilesystem for OnDisk {
    fn folder(&self) -> &Path {
        self.folder.folder()
    }

    fn create(&self, request: &str) -> io::Result<()> {
        self.folder.create(request)?;
        for (attribute, bytes) in [
            ("inblob", &b""[..]),
            ("privlevel", b""),
            ("privlevel_floor", b"1\n"),
            ("generation", b"0\n"),
            ("provider", b"sev_guest\n"),
            ("auxblob", b""),
        ] {
            self.put(request, attribute, bytes);
        }
        Ok(())
    }

    fn remove(&self, request: &str) -> io::Result<()> {
        for entry in fs::read_dir(self.folder().join(request))? {
            fs::remove_file(entry?.path())?;
        }
        self.folder.remove(request)
    }

    fn read(&self, request: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        self.folder.read(request, attribute, limit)
    }

    fn write(&self, request: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder.write(request, attribute, bytes)?;
        let mut generation = self.generation.lock().unwrap();
        *generation += 1;
        self.put(request, "generation", format!("{generation}\n").as_bytes());
        if attribute == "inblob" {
            self.put(request, "outblob", bytes);
        }
        Ok(())
    }

    fn wait(&self, _: Duration) {}
}

#[test]
fn the_protocol_holds_on_a_real_file_system() {
    let root = tempfile::tempdir().unwrap();
    let filesystem = OnDisk {
        folder: KernelFolder::at(root.path()),
        generation: Mutex::new(0),
    };
    let report = request_report(&filesystem, Provider::SevGuest, None, &[7; 64]).unwrap();
    assert_eq!(report.outblob, [7; 64]);
    assert!(report.auxblob.is_empty());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

    let absent = KernelFolder::at(&root.path().join("tsm/report"));
    let error = request_report(&absent, Provider::SevGuest, None, &[7; 64]).unwrap_err();
    assert!(matches!(error, TsmError::Absent { .. }), "{error}");
    // A folder that is no configfs stays empty: the first attribute is missing, and the request goes.
    let empty = KernelFolder::at(root.path());
    let error = request_report(&empty, Provider::SevGuest, None, &[7; 64]).unwrap_err();
    assert!(
        matches!(
            error,
            TsmError::Attribute {
                attribute: "provider",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
