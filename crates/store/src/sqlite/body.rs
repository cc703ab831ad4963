//! Bodies: small ones in a table, large ones in files that are synced before their row commits.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use malote_core::id::MessageId;
use rusqlite::{Connection, OptionalExtension};

use crate::StoreError;
use crate::columns::body_sum;
use crate::sqlite::columns::damaged;
use crate::sqlite::fault::{Fault, of_io};

/// Where a body is; the number stands on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Retention has dropped it.
    Dropped,
    /// In the table `bodies`.
    Table,
    /// In a file of its own.
    File,
}

impl Place {
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Dropped => 0,
            Self::Table => 1,
            Self::File => 2,
        }
    }

    pub(crate) fn of(number: i64) -> Result<Self, Fault> {
        [Self::Dropped, Self::Table, Self::File]
            .into_iter()
            .find(|place| place.number() == number)
            .ok_or_else(|| damaged("unknown place of a body"))
    }
}

/// The directory of large bodies, spread over 256 directories.
#[derive(Debug, Clone)]
pub(crate) struct BodyFiles {
    pub(crate) dir: PathBuf,
}

impl BodyFiles {
    /// The file of a message's body. The last octet of the id is random, the first ones are time.
    pub(crate) fn path(&self, id: MessageId) -> PathBuf {
        let name = id.simple();
        self.dir.join(&name[30..]).join(name)
    }

    /// Writes a body so that it is there after a power cut: file, then directory. It has its name
    /// from the beginning, since only a row, which commits later, makes it a body: a rename would
    /// be a second commit of the file system's journal.
    pub(crate) fn write(&self, id: MessageId, body: &[u8]) -> Result<(), Fault> {
        let path = self.path(id);
        let dir = path.parent().unwrap_or(&self.dir);
        self.make_dir(dir).map_err(|error| of_io(&error))?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = format!("{id} is the id of another message");
                return Err(Fault::Refused(StoreError::Engine(text)));
            }
            Err(error) => return Err(of_io(&error)),
        };
        let written = file.write_all(body).and_then(|()| file.sync_all());
        written.and_then(|()| sync_dir(dir)).map_err(|error| {
            // The first error is the one to tell; the next start sweeps what is left.
            drop(fs::remove_file(&path));
            of_io(&error)
        })
    }

    /// Makes one of the directories, so that it is there after a power cut.
    pub(crate) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a body that no row names.
    pub(crate) fn remove(&self, id: MessageId) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(message.id = %id, error = %error, "could not remove a body's file");
        }
    }

    /// Removes every file that no message names: bodies whose row never committed, or whose row
    /// went before they did. Returns how many.
    pub(crate) fn sweep(&self, conn: &Connection) -> Result<u64, Fault> {
        let mut swept = 0;
        for dir in entries(&self.dir)? {
            for path in entries(&dir)? {
                if !self.is_named(conn, &path)? {
                    fs::remove_file(&path).map_err(|error| of_io(&error))?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    fn is_named(&self, conn: &Connection, path: &Path) -> Result<bool, Fault> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| name.parse::<MessageId>().ok()) else {
            return Ok(false);
        };
        if self.path(id) != path {
            return Ok(false);
        }
        let place: Option<i64> = conn
            .prepare_cached("SELECT body_place FROM messages WHERE id = ?1")?
            .query_row([&id.as_bytes()[..]], |row| row.get(0))
            .optional()?;
        Ok(place == Some(Place::File.number()))
    }

    /// Reads a body and checks it against its row.
    pub(crate) fn load(&self, conn: &Connection, wanted: &Wanted) -> Result<Option<Bytes>, Fault> {
        let body = match wanted.place {
            Place::Dropped => return Ok(None),
            Place::Table => conn
                .prepare_cached("SELECT body FROM bodies WHERE message = ?1")?
                .query_row([wanted.message_pk], |row| {
                    Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                })
                .optional()?,
            Place::File => read_file(&self.path(wanted.id), wanted.size_bytes)?,
        };
        let Some(body) = body else {
            return Err(damaged(&format!("the body of {} is missing", wanted.id)));
        };
        if body.len() as u64 != wanted.size_bytes || body_sum(&body) != wanted.sum {
            return Err(damaged(&format!(
                "the body of {} does not match its checksum",
                wanted.id
            )));
        }
        Ok(Some(body))
    }
}

/// What a row says of its body.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: MessageId,
    pub(crate) message_pk: i64,
    pub(crate) place: Place,
    pub(crate) sum: i64,
    pub(crate) size_bytes: u64,
}

/// Reads at most one octet more than the row says, so that a file that grew cannot fill memory.
fn read_file(path: &Path, size_bytes: u64) -> Result<Option<Bytes>, Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(of_io(&error)),
    };
    let mut body = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
    file.take(size_bytes + 1)
        .read_to_end(&mut body)
        .map_err(|error| of_io(&error))?;
    Ok(Some(body.into()))
}

pub(crate) fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes names in a directory survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The entries of a directory; none if it is not there.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(of_io(&error)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(|error| of_io(&error))?.path());
    }
    Ok(paths)
}
