//! A text file that names the entity of each record, one a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::ImportError;

/// The longest name, in bytes: a UUID or a hash in hex fits.
pub(super) const NAME_LENGTH_LIMIT: u32 = 64;

/// Reads names, line by line.
#[derive(Debug)]
pub(super) struct EntityNames {
    path: PathBuf,
    lines: BufReader<File>,
    read: u64,
}

impl EntityNames {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(|error| ImportError::File {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            read: 0,
        })
    }

    /// The names of the next `count` records.
    pub(super) fn next(&mut self, count: usize) -> Result<Vec<String>, ImportError> {
        (0..count).map(|_| self.next_name()).collect()
    }

    fn next_name(&mut self) -> Result<String, ImportError> {
        let record = self.read;
        let refuse = |expected, path: &PathBuf| ImportError::Entity {
            path: path.clone(),
            line: record + 1,
            expected,
        };
        let mut line = String::new();
        // A name, a carriage return and a line feed.
        let most = u64::from(NAME_LENGTH_LIMIT) + 2;
        let read = (&mut self.lines).take(most).read_line(&mut line);
        match read {
            Ok(0) => return Err(refuse("a line for each record", &self.path)),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(refuse("text in UTF-8", &self.path));
            }
            Err(error) => {
                return Err(ImportError::File {
                    path: self.path.clone(),
                    error,
                });
            }
        }
        let name = line.strip_suffix('\n').unwrap_or(&line);
        let name = name.strip_suffix('\r').unwrap_or(name);
        if name.is_empty() {
            return Err(refuse(
                "a name, since each record has an entity",
                &self.path,
            ));
        }
        if name.len() > NAME_LENGTH_LIMIT as usize {
            return Err(refuse("a name of at most 64 bytes", &self.path));
        }
        // Names are compared byte for byte: two that look alike would make two entities of one.
        let invisible = |c: char| c.is_control() || c == '\u{feff}';
        if name.trim() != name || name.contains(invisible) {
            return Err(refuse(
                "a name without blanks around it, control characters or a byte order mark",
                &self.path,
            ));
        }
        self.read += 1;
        Ok(name.to_owned())
    }

    /// Refuses lines for which there are no records.
    pub(super) fn finish(&mut self) -> Result<(), ImportError> {
        let left = self.lines.fill_buf().map_err(|error| ImportError::File {
            path: self.path.clone(),
            error,
        })?;
        if left.is_empty() {
            return Ok(());
        }
        Err(ImportError::Entity {
            path: self.path.clone(),
            line: self.read + 1,
            expected: "the end of the file after a line for each record",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], records: usize) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        std::fs::write(&path, text).unwrap();
        let mut names = EntityNames::open(&path).unwrap();
        names
            .next(records)
            .and_then(|read| names.finish().map(|()| read))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_record_has_a_line() {
        assert_eq!(read(b"ada\nbo\r\nada", 3).unwrap(), ["ada", "bo", "ada"]);
        let longest = "x".repeat(64);
        assert_eq!(read(longest.as_bytes(), 1).unwrap(), [longest]);
    }

    #[test]
    fn missing_empty_long_and_surplus_names_are_refused_with_their_line() {
        for (text, records, words) in [
            (&b"ada\n"[..], 2, "line 2: expected a line for each record"),
            (b"ada\n\nbo\n", 3, "line 2: expected a name"),
            (
                &[b'x'; 65],
                1,
                "line 1: expected a name of at most 64 bytes",
            ),
            (
                &[b'x'; 9000],
                1,
                "line 1: expected a name of at most 64 bytes",
            ),
            (b"ada\nbo\n", 1, "line 2: expected the end"),
            (b"\xff\n", 1, "line 1: expected text"),
            (b"ada\nada \n", 2, "line 2: expected a name without blanks"),
            (b"\xef\xbb\xbfada\n", 1, "line 1: expected a name without"),
            (b"a\tda\n", 1, "line 1: expected a name without"),
        ] {
            let error = read(text, records).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
