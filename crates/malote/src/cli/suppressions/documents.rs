//! A list as it is imported: read piece by piece, sent as JSON documents.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::admin::api::LineFault;
use crate::cli::exit::{Failure, Outcome};
use crate::lists::{ListReader, Record};

/// Octets of an import sent at once, a line more or less.
const CHUNK_BYTES: usize = 1 << 20;
/// Octets of a list read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A list that is imported, turned into JSON documents chunk by chunk.
pub(super) struct List {
    source: Box<dyn Read + Send>,
    reader: ListReader,
    /// Octets of the whole, if known.
    pub(super) bytes: Option<u64>,
    /// Octets read so far.
    pub(super) read: u64,
    /// Documents to send, and the line of each.
    pub(super) ready: (Vec<u8>, Vec<u64>),
    /// Records that are not good.
    pub(super) refused: Vec<LineFault>,
}

impl List {
    /// Opens a file, or standard input by the name `-`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open(file: &Path) -> Outcome<Self> {
        let (source, bytes): (Box<dyn Read + Send>, _) = if file == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let text = |error| Failure::Usage(format!("{}: {error}", file.display()));
            let opened = File::open(file).map_err(text)?;
            let bytes = opened.metadata().map_err(text)?.len();
            (Box::new(opened), Some(bytes))
        };
        Ok(Self::of(source, bytes))
    }

    fn of(source: Box<dyn Read + Send>, bytes: Option<u64>) -> Self {
        Self {
            source,
            reader: ListReader::default(),
            bytes,
            read: 0,
            ready: Default::default(),
            refused: Vec::new(),
        }
    }

    /// Reads until there is a chunk to send; `false` at the end. What was read before a failure
    /// is there, too.
    ///
    /// # Errors
    /// If nothing that follows can be read.
    pub(super) fn chunk(&mut self) -> Outcome<bool> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut records = Vec::new();
        while self.ready.0.len() < CHUNK_BYTES {
            let count = self.source.read(&mut piece)?;
            self.read += count as u64;
            let result = match count {
                0 => self.reader.finish(&mut records),
                _ => self.reader.feed(&piece[..count], &mut records),
            };
            for record in records.drain(..) {
                self.take(record)?;
            }
            result
                .map_err(|fault| Failure::failed(format!("{fault}; what came before is kept")))?;
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, record: Record) -> io::Result<()> {
        match record.entry {
            Ok(body) => {
                serde_json::to_writer(&mut self.ready.0, &body)?;
                self.ready.0.push(b'\n');
                self.ready.1.push(record.line);
            }
            Err(detail) => self.refused.push(LineFault {
                line: record.line,
                detail,
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::SuppressionBody;

    #[test]
    fn a_list_becomes_documents_and_their_lines_are_kept() {
        let list = "email;scope\r\na@x.test;news\r\n\r\nnobody;news\r\nb@x.test;\r\n";
        let mut list = List::of(Box::new(io::Cursor::new(list)), None);
        assert!(!list.chunk().unwrap());
        let (documents, lines) = std::mem::take(&mut list.ready);
        assert_eq!(lines, [2, 5]);
        let documents = String::from_utf8(documents).unwrap();
        let mut documents = documents
            .lines()
            .map(serde_json::from_str::<SuppressionBody>);
        let first = documents.next().unwrap().unwrap();
        assert_eq!(first.address.to_string(), "a@x.test");
        assert_eq!(first.stream.unwrap().as_str(), "news");
        assert_eq!(documents.count(), 1);
        assert_eq!(list.refused[0].line, 4);
    }
}
