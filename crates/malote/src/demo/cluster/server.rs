//! A PostgreSQL server of the demo's own: its files and its socket are in the demo's folder, nobody
//! else can reach it, and it goes with the demo.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Where Debian and its relatives put the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user that Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";

/// A running server; it is stopped when dropped.
pub(super) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
}

/// Who runs the server, where that is somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Server {
    /// Makes a cluster below this folder and starts it, with the programs in `programs` or those
    /// that are found.
    ///
    /// # Errors
    /// If there is no PostgreSQL, nobody who may run it, or it does not start.
    pub(super) fn start(below: &Path, programs: Option<&Path>) -> anyhow::Result<Self> {
        let server = Self {
            programs: find(programs)?,
            folder: below.join("postgres"),
            owner: owner()?,
        };
        DirBuilder::new().mode(0o700).create(&server.folder)?;
        if let Some(Owner { uid, gid }) = server.owner {
            chown(&server.folder, Some(uid), Some(gid))?;
        }
        let made = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"];
        server.run("initdb", made)?;
        let socket = server.folder.display();
        let options = format!("-c listen_addresses= -c unix_socket_directories='{socket}'");
        let log = server.folder.join("log").display().to_string();
        server.run("pg_ctl", ["start", "-w", "-l", &log, "-o", &options])?;
        Ok(server)
    }

    /// Where it is: its socket, as a URL.
    pub(super) fn url(&self) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://{USER}@{socket}/{USER}")
    }

    /// Runs one of its programs on its cluster.
    fn run<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .arg("-D")
            .arg(self.folder.join("data"))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if let Some(Owner { uid, gid }) = self.owner {
            command.uid(uid).gid(gid);
        }
        // Its output would be held open by the server.
        let said = fs::File::create(self.folder.join("said"))?;
        let status = command.stdout(said.try_clone()?).stderr(said).status();
        let status = status.with_context(|| format!("{program} in {}", self.programs.display()))?;
        let said = || fs::read_to_string(self.folder.join("said")).unwrap_or_default();
        ensure!(
            status.success(),
            "{program} ended with {status}:\n{}",
            said()
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.folder.join("data/postmaster.pid").exists() {
            return;
        }
        if let Err(error) = self.run("pg_ctl", ["stop", "-w", "-m", "immediate"]) {
            eprintln!("could not stop PostgreSQL: {error}");
        }
    }
}

fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let has_programs = |folder: &PathBuf| folder.join("initdb").is_file();
    if let Some(given) = given {
        let given = given.to_owned();
        ensure!(
            has_programs(&given),
            "--bin-dir: {} has no initdb",
            given.display()
        );
        return Ok(given);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).find(has_programs);
    let found = found.or_else(|| newest(Path::new(DEBIAN)));
    found.context(
        "there is no PostgreSQL: install it (Debian and Ubuntu: apt install postgresql), or say \
         where initdb is with --bin-dir",
    )
}

/// The programs of the newest version below this folder.
fn newest(below: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(below).ok()?.filter_map(Result::ok);
    let number = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    let versions = versions.filter_map(|entry| Some((number(&entry.file_name())?, entry.path())));
    let found = versions.map(|(number, path)| (number, path.join("bin")));
    let found = found.filter(|(_, path)| path.join("initdb").is_file());
    found.max().map(|(_, path)| path)
}

/// Another user than root, if this is root.
fn owner() -> anyhow::Result<Option<Owner>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    match owner_in(&fs::read_to_string("/etc/passwd")?) {
        Some(owner) => Ok(Some(owner)),
        None => bail!(
            "PostgreSQL refuses to run as root, and there is no user {USER}: run the demo as \
             another user"
        ),
    }
}

fn owner_in(users: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_wanted = fields.next() == Some(USER);
        let mut number = |skipped| fields.nth(skipped)?.parse().ok();
        let (uid, gid) = (number(1)?, number(0)?);
        is_wanted.then_some(Owner { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_server_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\n\
                     postgres2:x:7:8::/:/bin/sh\n\
                     postgres:x:105:112:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        let owner = Owner { uid: 105, gid: 112 };
        assert_eq!(owner_in(users), Some(owner));
        assert_eq!(owner_in("postgres\nroot:x:0:0::/:/bin/sh\n"), None);
    }

    #[test]
    fn the_newest_version_with_programs_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (version, program) in [
            ("9", "initdb"),
            ("15", "initdb"),
            ("16", "psql"),
            ("x", "initdb"),
        ] {
            let bin = folder.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join(program), "").unwrap();
        }
        assert_eq!(newest(folder.path()), Some(folder.path().join("15/bin")));
        assert_eq!(newest(&folder.path().join("none")), None);
    }
}
