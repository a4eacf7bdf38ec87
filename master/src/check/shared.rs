//! The files that a master shares with a worker: made and looked at by the checker.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
};

use protocol::shared_output::{BASE, DATA, HELD, LAST, PATIENCE, TAKEN};
use protocol::strict::Value;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// A file in memory that a worker may map.
pub(super) struct SharedFile {
    file: File,
    pub(super) key: u64,
    size: u64,
}

/// The numbers at the start of a shared output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) base: u64,
    pub(super) held: u64,
    pub(super) last: u64,
}

impl SharedFile {
    pub(super) fn new(size: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("check", flags)?);
        file.set_len(size)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let key = u64::from_le_bytes(random);
        file.write_all_at(&key.to_le_bytes(), 0)?;
        Ok(Self { file, key, size })
    }

    /// A path by which a process of the same user can open it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn number(&self, offset: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn numbers(&self) -> io::Result<Numbers> {
        Ok(Numbers { base: self.number(BASE)?, held: self.number(HELD)?, last: self.number(LAST)? })
    }

    /// The frames that are held, as they stand there.
    pub(super) fn frames(&self, held: u64) -> io::Result<Vec<u8>> {
        self.read(DATA as u64, held)
    }

    pub(super) fn set_taken(&self, taken: u64) -> io::Result<()> {
        self.write(TAKEN as u64, &taken.to_le_bytes())
    }

    pub(super) fn set_patience(&self, nanoseconds: u64) -> io::Result<()> {
        self.write(PATIENCE as u64, &nanoseconds.to_le_bytes())
    }

    /// The field `shared_output` of a welcome.
    pub(super) fn place(&self, results: Option<u64>) -> Value {
        let mut fields = self.fields();
        fields.extend(results.map(|results| ("results", Value::Integer(results.into()))));
        Value::fields(fields)
    }

    /// The field `shared_arguments` of a welcome.
    pub(super) fn arguments_place(&self) -> Value {
        Value::fields(self.fields())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![("path", Value::text(&self.path())), ("key", Value::Integer(self.key.into()))]
    }
}
