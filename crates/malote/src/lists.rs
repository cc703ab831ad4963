//! Suppression lists as files: CSV as spreadsheets write it, one JSON document a line, or one
//! address a line; told apart by the first line, read as it comes, a record in memory at a time.

use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::suppression::{
    SOURCE_BYTES_MAX, SuppressedAddress, SuppressionReason, SuppressionScope,
};

use crate::admin::api::SuppressionBody;

/// Longest record, in octets.
pub(crate) const RECORD_BYTES_MAX: usize = 8 << 10;
/// Most fields of a record that are looked at: spreadsheets may add empty ones.
const FIELDS_MAX: usize = 64;
/// The columns, in the order in which they are written.
const COLUMNS: [(Column, &str); 7] = [
    (Column::Email, "email"),
    (Column::Scope, "scope"),
    (Column::Reason, "reason"),
    (Column::Source, "source"),
    (Column::At, "at"),
    (Column::ExpiresAt, "expires_at"),
    (Column::Detail, "detail"),
];
/// What Windows programs begin UTF-8 texts with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Email,
    Scope,
    Reason,
    Source,
    At,
    ExpiresAt,
    Detail,
    /// A column without a name.
    Empty,
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let alias = match name.as_str() {
            "" => return Some(Self::Empty),
            "address" => "email",
            "stream" => "scope",
            "created_at" => "at",
            name => name,
        };
        let found = COLUMNS.iter().find(|(_, own)| *own == alias);
        found.map(|(column, _)| *column)
    }
}

/// One record of a list.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    /// The line it begins on, from 1.
    pub(crate) line: u64,
    /// The entry, or what is wrong.
    pub(crate) entry: Result<SuppressionBody, String>,
}

/// Why a list cannot be read on; what came before stands.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A record is over the bounds.
    #[error(
        "line {0}: longer than 8 KiB or of more than {FIELDS_MAX} fields; is a quote not closed?"
    )]
    TooLong(u64),
    /// Its first line makes it none.
    #[error("{0}")]
    NoList(String),
}

/// Reads a list piece by piece.
#[derive(Default)]
pub(crate) struct ListReader {
    format: Format,
    rest: Vec<u8>,
    /// Line ends read so far.
    lines: u64,
}

#[derive(Default)]
enum Format {
    #[default]
    Undecided,
    Lines,
    Csv(Box<Csv>),
}

/// CSV under way (RFC 4180), with any of three separators.
struct Csv {
    reader: csv_core::Reader,
    columns: Option<Vec<Column>>,
    text: Vec<u8>,
    text_len: usize,
    ends: [usize; FIELDS_MAX],
    ends_len: usize,
    /// The line that the record under way begins on; `None` between records.
    begins: Option<u64>,
}

impl ListReader {
    /// Takes the next piece and adds the records that it completes to `out`.
    ///
    /// # Errors
    /// If nothing that follows can be read.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<Record>) -> Result<(), Unreadable> {
        if let Format::Csv(csv) = &mut self.format {
            return csv.feed(piece, &mut self.lines, out);
        }
        self.rest.extend_from_slice(piece);
        self.go_on(out)?;
        if self.rest.len() > RECORD_BYTES_MAX {
            return Err(Unreadable::TooLong(self.lines + 1));
        }
        Ok(())
    }

    /// Takes what is left as the last record.
    ///
    /// # Errors
    /// As [`ListReader::feed`].
    pub(crate) fn finish(&mut self, out: &mut Vec<Record>) -> Result<(), Unreadable> {
        if !matches!(self.format, Format::Csv(_)) && !self.rest.is_empty() {
            self.rest.push(b'\n');
            self.go_on(out)?;
        }
        match &mut self.format {
            Format::Csv(csv) => csv.end(&mut self.lines, out),
            Format::Undecided | Format::Lines => Ok(()),
        }
    }

    fn go_on(&mut self, out: &mut Vec<Record>) -> Result<(), Unreadable> {
        let is_first = self.lines == 0 && matches!(self.format, Format::Undecided);
        if is_first && self.rest.starts_with(BYTE_ORDER_MARK) {
            self.rest.drain(..BYTE_ORDER_MARK.len());
        }
        while let Some(end) = self.rest.iter().position(|octet| *octet == b'\n') {
            if matches!(self.format, Format::Undecided) {
                self.decide(end)?;
                if let Format::Csv(csv) = &mut self.format {
                    let rest = std::mem::take(&mut self.rest);
                    return csv.feed(&rest, &mut self.lines, out);
                }
            }
            let complete = self.rest.iter().rposition(|octet| *octet == b'\n');
            let complete = match self.format {
                Format::Undecided => end,
                Format::Lines | Format::Csv(_) => complete.unwrap_or(end),
            };
            let lines: Vec<u8> = self.rest.drain(..=complete).collect();
            for line in lines.split_inclusive(|octet| *octet == b'\n') {
                self.lines += 1;
                out.extend(entry_of_line(line).map(|entry| Record {
                    line: self.lines,
                    entry,
                }));
            }
        }
        Ok(())
    }

    /// Tells from the first line that is not empty what the list is.
    fn decide(&mut self, end: usize) -> Result<(), Unreadable> {
        let line = String::from_utf8_lossy(&self.rest[..end]);
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with('{') || line.contains('@') || line.starts_with("hash:") {
            self.format = Format::Lines;
            return Ok(());
        }
        let has_email = |delimiter: &u8| {
            let mut names = line.split(char::from(*delimiter));
            names.any(|name| Column::of(name.trim().trim_matches('"')) == Some(Column::Email))
        };
        let Some(delimiter) = [b',', b';', b'\t'].into_iter().find(|own| has_email(own)) else {
            return Err(Unreadable::NoList(format!(
                "line {}: neither an address nor a JSON document nor a header line with a column \
                 email; known columns: {}",
                self.lines + 1,
                names()
            )));
        };
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        self.format = Format::Csv(Box::new(Csv {
            reader,
            columns: None,
            text: vec![0; RECORD_BYTES_MAX],
            text_len: 0,
            ends: [0; FIELDS_MAX],
            ends_len: 0,
            begins: None,
        }));
        Ok(())
    }
}

impl Csv {
    fn feed(
        &mut self,
        mut piece: &[u8],
        lines: &mut u64,
        out: &mut Vec<Record>,
    ) -> Result<(), Unreadable> {
        // An empty piece would mean the end.
        while !piece.is_empty() {
            let (text, ends) = (
                &mut self.text[self.text_len..],
                &mut self.ends[self.ends_len..],
            );
            let (result, taken, text_len, ends_len) = self.reader.read_record(piece, text, ends);
            self.count(&piece[..taken], lines);
            self.text_len += text_len;
            self.ends_len += ends_len;
            piece = &piece[taken..];
            self.follow(result, *lines, out)?;
        }
        Ok(())
    }

    fn end(&mut self, lines: &mut u64, out: &mut Vec<Record>) -> Result<(), Unreadable> {
        let (text, ends) = (
            &mut self.text[self.text_len..],
            &mut self.ends[self.ends_len..],
        );
        let (result, _, text_len, ends_len) = self.reader.read_record(&[], text, ends);
        self.text_len += text_len;
        self.ends_len += ends_len;
        self.follow(result, *lines, out)
    }

    /// Counts line ends, those in front of a record apart.
    fn count(&mut self, taken: &[u8], lines: &mut u64) {
        let is_end = |octet: &u8| matches!(octet, b'\n' | b'\r');
        let count = |octets: &[u8]| octets.iter().filter(|octet| **octet == b'\n').count() as u64;
        let lead = match self.begins {
            Some(_) => 0,
            None => taken.iter().take_while(|octet| is_end(octet)).count(),
        };
        *lines += count(&taken[..lead]);
        if self.begins.is_none() && lead < taken.len() {
            self.begins = Some(*lines + 1);
        }
        *lines += count(&taken[lead..]);
    }

    fn follow(
        &mut self,
        result: csv_core::ReadRecordResult,
        lines: u64,
        out: &mut Vec<Record>,
    ) -> Result<(), Unreadable> {
        use csv_core::ReadRecordResult::{
            End, InputEmpty, OutputEndsFull, OutputFull, Record as One,
        };
        let line = self.begins.unwrap_or(lines + 1);
        match result {
            InputEmpty | End => return Ok(()),
            OutputFull | OutputEndsFull => return Err(Unreadable::TooLong(line)),
            One => {}
        }
        let mut from = 0;
        let fields = self.ends[..self.ends_len].iter().map(|end| {
            let field = &self.text[from..*end];
            from = *end;
            field
        });
        let fields: Vec<&[u8]> = fields.collect();
        match &self.columns {
            None => self.columns = Some(columns(&fields, line)?),
            Some(columns) => out.push(Record {
                line,
                entry: entry(columns, &fields),
            }),
        }
        (self.text_len, self.ends_len, self.begins) = (0, 0, None);
        Ok(())
    }
}

fn names() -> String {
    COLUMNS.map(|(_, name)| name).join(", ")
}

fn columns(fields: &[&[u8]], line: u64) -> Result<Vec<Column>, Unreadable> {
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let name = String::from_utf8_lossy(field);
        let Some(column) = Column::of(&name) else {
            let name = bounded(&name, 64);
            return Err(Unreadable::NoList(format!(
                "line {line}: no column {name:?}; known columns: {}",
                names()
            )));
        };
        if column != Column::Empty && columns.contains(&column) {
            return Err(Unreadable::NoList(format!(
                "line {line}: the column {name:?} is there twice"
            )));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// A line by itself: a JSON document or an address; `None` if it is empty.
fn entry_of_line(line: &[u8]) -> Option<Result<SuppressionBody, String>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    if line.starts_with(b"{") {
        return Some(serde_json::from_slice(line).map_err(|error| error.to_string()));
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
    Some(text.and_then(|text| {
        let address = text.trim_matches('"').parse().map_err(|fault| {
            if text.contains([',', ';', '\t']) {
                let known = names();
                return format!("{fault}; several columns need a header line first: {known}");
            }
            format!("{fault}")
        });
        address.map(SuppressionBody::of)
    }))
}

fn entry(columns: &[Column], fields: &[&[u8]]) -> Result<SuppressionBody, String> {
    let mut texts = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let text = std::str::from_utf8(field).map_err(|_| "not UTF-8".to_owned())?;
        let column = columns.get(index).copied().unwrap_or(Column::Empty);
        if column == Column::Empty && !text.trim().is_empty() {
            return Err(format!("field {} stands under no column", index + 1));
        }
        texts.push((column, text.trim()));
    }
    let text = |wanted: Column| {
        let found = texts.iter().find(|(column, _)| *column == wanted);
        found.map(|(_, text)| *text).filter(|text| !text.is_empty())
    };
    let address: SuppressedAddress = text(Column::Email)
        .ok_or("email: missing")?
        .parse()
        .map_err(|fault| format!("email: {fault}"))?;
    let mut body = SuppressionBody::of(address);
    if let Some(scope) = text(Column::Scope) {
        let scope: SuppressionScope = scope.parse().map_err(|fault| format!("scope: {fault}"))?;
        body = body.in_scope(scope);
    }
    if let Some(word) = text(Column::Reason) {
        body.reason = SuppressionReason::from_word(word).ok_or_else(|| {
            let words = SuppressionReason::ALL
                .map(SuppressionReason::as_str)
                .join(", ");
            format!("reason: use one of {words}")
        })?;
    }
    let time = |column: Column, name: &str| {
        let time = text(column).map(|text| {
            text.parse()
                .map_err(|_| format!("{name}: not a time such as 2026-12-01T08:00:00Z"))
        });
        time.transpose()
    };
    body.created_at = time(Column::At, "at")?;
    body.expires_at = time(Column::ExpiresAt, "expires_at")?;
    body.source = text(Column::Source).map(str::to_owned);
    if body
        .source
        .as_ref()
        .is_some_and(|source| source.len() > SOURCE_BYTES_MAX)
    {
        return Err(format!("source: longer than {SOURCE_BYTES_MAX} octets"));
    }
    let detail = text(Column::Detail).unwrap_or_default();
    let bare = detail
        .strip_prefix('\'')
        .filter(|bare| bare.starts_with(FORMULA));
    body.detail = bounded(bare.unwrap_or(detail), REPLY_TEXT_BYTES_MAX);
    Ok(body)
}

/// The header line of a CSV list, with its line end (RFC 4180: CRLF).
pub(crate) fn csv_header() -> String {
    format!("{}\r\n", COLUMNS.map(|(_, name)| name).join(","))
}

/// An entry as a line of a CSV list.
pub(crate) fn csv_line(entry: &SuppressionBody) -> String {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut detail = entry.detail.clone();
    // A server's words must not become a formula of who opens the list.
    if detail.starts_with(FORMULA) {
        detail.insert(0, '\'');
    }
    let fields = COLUMNS.map(|(column, _)| match column {
        Column::Email => entry.address.to_string(),
        Column::Scope => entry.scope().to_string(),
        Column::Reason => entry.reason.as_str().to_owned(),
        Column::Source => entry.source.clone().unwrap_or_default(),
        Column::At => time(entry.created_at),
        Column::ExpiresAt => time(entry.expires_at),
        Column::Detail => detail.clone(),
        Column::Empty => String::new(),
    });
    format!("{}\r\n", fields.map(|field| quoted(&field)).join(","))
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n', ';', '\t']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests;
