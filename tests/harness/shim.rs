//! Small libraries in C that a program is started with (`LD_PRELOAD`), so that it meets a machine
//! that is not ours: another clock, a full disk.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::tools::{repository, tool};

/// A library that was compiled; it goes when dropped, and programs keep what they have loaded.
pub struct Shim {
    folder: TempDir,
    name: &'static str,
}

impl Shim {
    /// A wall clock that is ahead of the machine's, or behind: see [`Shim::ahead`].
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn clock() -> Result<Self> {
        Self::compile("clock")
    }

    /// A disk that is full from [`Shim::fill`] to [`Shim::free`]: see [`Shim::disk_of`].
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn disk() -> Result<Self> {
        Self::compile("disk")
    }

    fn compile(name: &'static str) -> Result<Self> {
        let source = repository().join(format!("tests/harness/shims/{name}.c"));
        let folder = TempDir::with_prefix("malote-shim-")?;
        // The database may run as another user.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let shim = Self { folder, name };
        let status = Command::new(tool("cc")?)
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
            .arg("-o")
            .args([shim.library(), source])
            .status()?;
        ensure!(status.success(), "{name}.c does not compile");
        Ok(shim)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join(format!("{}.so", self.name))
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().join("full")
    }

    fn variables(&self, more: &[(&str, String)]) -> Vec<(String, String)> {
        let library = self.library().display().to_string();
        let all = std::iter::once(("LD_PRELOAD", library)).chain(more.iter().cloned());
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The environment of a program whose wall clock is so many seconds ahead.
    #[must_use]
    pub fn ahead(&self, seconds: i64) -> Vec<(String, String)> {
        self.variables(&[("CLOCK_AHEAD_S", seconds.to_string())])
    }

    /// The environment of a program for whose files with this text in their path there may be no
    /// room.
    #[must_use]
    pub fn disk_of(&self, under: &str) -> Vec<(String, String)> {
        self.variables(&[
            ("DISK_FULL_UNDER", under.to_owned()),
            ("DISK_FULL_WHILE", self.mark().display().to_string()),
        ])
    }

    /// From now on nothing grows.
    ///
    /// # Errors
    /// When its mark cannot be made.
    pub fn fill(&self) -> Result<()> {
        std::fs::write(self.mark(), "").context("no mark")
    }

    /// There is room again.
    ///
    /// # Errors
    /// When it was not full.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.mark()).context("it was not full")
    }
}
