//! Where tests find files that are not in the repository.

use std::path::PathBuf;

/// A folder of the shared files: under `TRIBUTARY_SHARED`, or beside the workspace. `None`, said aloud, where they are
/// absent; on continuous integration that is a failure.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("TRIBUTARY_SHARED")
        .map_or_else(default, PathBuf::from)
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is absent",
        path.display()
    );
    println!("skipped: {} is absent", path.display());
    None
}
