//! The digest by which a program is known.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha384};

use crate::fixed_bytes::fixed_bytes;

fixed_bytes!(
    /// SHA-384 of the code that a TEE runs, as SEV-SNP's launch digest and TDX's MRTD are.
    ///
    /// For the simulated TEE it is SHA-384 of the program file.
    ///
    /// ```
    /// # use tributary_attest::Measurement;
    /// let measurement = Measurement::of_bytes(b"abc");
    /// assert!(measurement.to_string().starts_with("cb00753f45a35e8bb5a03d699ac65007"));
    /// ```
    Measurement,
    48,
    "a measurement"
);

impl Measurement {
    /// SHA-384 of the bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha384::digest(bytes).into())
    }

    /// SHA-384 of a file, read in pieces.
    ///
    /// # Errors
    /// What opening and reading the file returns.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        Self::of_reader(File::open(path)?)
    }

    /// SHA-384 of the program that is running.
    ///
    /// # Errors
    /// What opening and reading the program's file returns.
    pub fn of_current_exe() -> io::Result<Self> {
        // The link leads to the file that was started even where another now has its name.
        #[cfg(target_os = "linux")]
        let path = Path::new("/proc/self/exe");
        #[cfg(not(target_os = "linux"))]
        let path = &std::env::current_exe()?;
        Self::of_file(path)
    }

    fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut digest = Sha384::new();
        let mut piece = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(Self(digest.finalize().into())),
                Ok(n) => digest.update(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|i| i as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(
            Measurement::of_file(file.path()).unwrap(),
            Measurement::of_bytes(&bytes)
        );
    }

    #[test]
    fn the_running_program_is_measured_by_its_own_file() {
        let exe = std::env::current_exe().unwrap();
        assert_eq!(
            Measurement::of_current_exe().unwrap(),
            Measurement::of_file(&exe).unwrap()
        );
    }
}
