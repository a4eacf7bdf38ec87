//! Functions of files, which are read piece by piece.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{Error, reference::parameters::SystemText};

/// Bytes of one read.
const PIECE: usize = 64 << 10;

/// The SHA-256 of a file, in 64 lower-case hexadecimal digits.
pub(super) fn sha256(path: SystemText) -> Result<String, Error> {
    let mut hash = Sha256::new();
    read(&path.into_path(), |piece| hash.update(piece))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How many words a file has: runs of bytes that are not white space in the C locale, as POSIX
/// defines it for `LC_ALL=C wc -w`. Some versions of `wc` leave out words without any printable
/// character, which makes a difference for binary files.
pub(super) fn count_words(path: SystemText) -> Result<u64, Error> {
    let mut words = 0;
    let mut in_word = false;
    read(&path.into_path(), |piece| {
        for &byte in piece {
            let space = matches!(byte, b' ' | b'\t'..=b'\r');
            words += u64::from(!space && !in_word);
            in_word = !space;
        }
    })?;
    Ok(words)
}

fn read(path: &Path, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    let failed = |what: &str, error: &io::Error| {
        let kind = format!("{:?}", error.kind());
        Error::new(kind, format!("cannot {what} {}: {error}", path.display()))
    };
    let mut file = File::open(path).map_err(|error| failed("open", &error))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => each(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", &error)),
        }
    }
}
