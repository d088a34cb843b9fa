//! Secrets come by file, never by argument: arguments show in every process list and shell history.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::code::ErrorCode;
use crate::failure::{Blame, Failure, FailureContext};
use crate::output::Console;

/// The longest secret file that is read, in bytes; a passphrase longer than this is a wrong file.
pub const SECRET_LIMIT: u64 = 4 * 1024;

/// Reads a passphrase from the first line of a file. Warns where others than its owner may read it.
///
/// # Errors
/// Where the file cannot be read, is empty, has several lines, is longer than [`SECRET_LIMIT`] or is not UTF-8.
///
/// ```
/// use tributary_console::{Console, read_secret};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("passphrase");
/// std::fs::write(&path, "correct horse\n")?;
/// let (console, _) = Console::captured(false);
/// assert_eq!(read_secret(&path, &console).unwrap().as_str(), "correct horse");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_secret(path: &Path, console: &Console) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let mut file =
        File::open(path).or_fail(ErrorCode::IO, format!("cannot read the secret {shown}"))?;
    warn_of_readers(&file, path, console)?;
    // Reserved at once: a buffer that grows would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_LIMIT as usize + 1));
    file.by_ref()
        .take(SECRET_LIMIT + 1)
        .read_to_end(&mut bytes)
        .or_fail(ErrorCode::IO, format!("cannot read the secret {shown}"))?;
    let refuse = |why: &str| {
        Failure::new(
            ErrorCode::KEY_UNREADABLE,
            format!("the secret {shown} {why}"),
        )
        .hint("write the passphrase alone on the first line of the file")
        .blame(Blame::Configuration)
    };
    if bytes.len() as u64 > SECRET_LIMIT {
        return Err(refuse(&format!("is longer than {SECRET_LIMIT} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refuse("is empty"));
    }
    if line.contains(['\n', '\r']) {
        return Err(refuse("has more than one line"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(unix)]
fn warn_of_readers(file: &File, path: &Path, console: &Console) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        console.warn(format!(
            "{} is open to others than its owner (mode {mode:03o}); run `chmod 600 {}`",
            path.display(),
            path.display()
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn warn_of_readers(_: &File, _: &Path, _: &Console) -> Result<(), Failure> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], expect: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, content).unwrap();
        let (console, _) = Console::captured(false);
        match (read_secret(&path, &console), expect) {
            (Ok(secret), Ok(expected)) => assert_eq!(secret.as_str(), expected),
            (Err(failure), Err(part)) => {
                assert!(failure.message().contains(part), "{}", failure.message())
            }
            (outcome, expect) => panic!(
                "{content:?}: {:?}, expected {expect:?}",
                outcome.map(|_| "a secret")
            ),
        }
    }

    #[test]
    fn the_first_line_is_the_secret_with_its_spaces() {
        check(b"correct horse", Ok("correct horse"));
        check(b" spaced \r\n", Ok(" spaced "));
    }

    #[test]
    fn empty_long_binary_and_several_lines_are_refused() {
        check(b"", Err("is empty"));
        check(b"\n", Err("is empty"));
        check(b"one\ntwo\n", Err("more than one line"));
        check(&[b'x'; SECRET_LIMIT as usize + 1], Err("longer than"));
        check(&[0xff, 0xfe], Err("not UTF-8"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let (console, _) = Console::captured(false);
        let failure = read_secret(Path::new("/nowhere/p"), &console).unwrap_err();
        assert_eq!(failure.code(), ErrorCode::FILE_MISSING);
        assert!(failure.message().contains("/nowhere/p"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_open_to_others_is_warned_of_and_a_closed_one_is_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, "secret").unwrap();
        for (mode, warns) in [(0o644, true), (0o620, true), (0o600, false), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let (console, captured) = Console::captured(true);
            read_secret(&path, &console).unwrap();
            assert_eq!(captured.stderr().contains("chmod 600"), warns, "{mode:o}");
        }
    }
}
