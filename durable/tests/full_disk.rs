//! A disk that fails at each step of a replacement. In a process of its own: failpoints are the whole process's.

use std::io;

use tributary_durable::{Readers, replace};

#[test]
fn a_failing_disk_leaves_the_old_file_and_nothing_beside_it() -> io::Result<()> {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    replace(&path, b"old", Readers::Anyone)?;
    for point in ["durable::write", "durable::sync", "durable::rename"] {
        assert_eq!(fail::cfg(point, "return(ENOSPC)"), Ok(()));
        let error = replace(&path, b"new", Readers::Anyone)
            .err()
            .map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::StorageFull), "{point}");
        assert_eq!(std::fs::read(&path)?, b"old");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        fail::remove(point);
    }
    scenario.teardown();
    Ok(())
}
