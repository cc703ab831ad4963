//! The notation of the cases: what is sent, what must come back, what must be stored.
//!
//! `== sentence` begins a case; then a line each, in order:
//! `door plain|submission|login|implicit` (plain without it); `bare`: no banner is awaited and no
//! EHLO said first; `C text`: a line with its CRLF; `R text`: these octets; `D text`: these octets,
//! each in a segment of its own; `slow 5`: an octet every five seconds, six times; `S code word xN`:
//! N replies with this code whose text begins with this word; `T text`, `T! text`: the last reply
//! holds it, or does not; `tls`: STARTTLS and the handshake; `alert`: nothing but a TLS alert, then
//! the end; `login user password`; `begin`, `begin utf8`: MAIL, RCPT and DATA; `pause` (ms);
//! `within` (s): patience from here on; `half`: no more is sent; `drop`: the connection is reset;
//! `close`: it ends, with nothing more said; `stored N`: so many deliveries are found (0 without
//! it); `arrives text`, `arrives! text`: the copy at the relay holds it, or does not.
//!
//! In texts, `\r \n \t \0 \\ \xHH` are octets, `${rcpt}` is the case's own recipient, `${head}` a
//! header section without its end, `${9*text}` nine times the text, `${b64 text}` its base64.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Which listener is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// In clear, no login needed.
    Plain,
    /// With STARTTLS.
    Submission,
    /// In clear, with a login.
    Login,
    /// TLS before the banner.
    Implicit,
}

/// One line of a case.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Drip { octets: Vec<u8>, every_ms: u64 },
    Replies { start: String, count: usize },
    Holds { text: Vec<u8>, is_there: bool },
    StartTls,
    Alert,
    Pause(u64),
    Within(u64),
    Half,
    Reset,
    Close,
    Stored(usize),
    Arrives { text: Vec<u8>, is_there: bool },
}

/// One case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) sentence: String,
    pub(super) recipient: String,
    pub(super) door: Door,
    pub(super) is_bare: bool,
    pub(super) steps: Vec<Step>,
}

/// Reads a file of cases; `first` numbers them.
pub(super) fn read(text: &str, first: usize) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let is_note = cases.is_empty() && line.starts_with('#');
        if line.is_empty() || is_note {
            continue;
        }
        if let Some(sentence) = line.strip_prefix("== ") {
            cases.push(Case {
                sentence: sentence.to_owned(),
                recipient: format!("c{}@case.example", first + cases.len()),
                door: Door::Plain,
                is_bare: false,
                steps: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().context("a line before the first case")?;
        case.read_line(line)
            .with_context(|| format!("{}: {line}", case.sentence))?;
    }
    Ok(cases)
}

impl Case {
    fn read_line(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = match word {
            "door" => {
                self.door = door(rest)?;
                return Ok(());
            }
            "bare" => {
                self.is_bare = true;
                return Ok(());
            }
            "login" => return self.log_in(rest),
            "begin" => return self.begin(rest),
            "C" => Step::Send(self.octets(&format!("{rest}\\r\\n"))?),
            "R" => Step::Send(self.octets(rest)?),
            "D" => Step::Drip {
                octets: self.octets(rest)?,
                every_ms: 1,
            },
            "slow" => Step::Drip {
                octets: b"NOOP x".to_vec(),
                every_ms: rest.parse::<u64>()? * 1_000,
            },
            "S" => replies(rest)?,
            "T" | "T!" => Step::Holds {
                text: self.octets(rest)?,
                is_there: word == "T",
            },
            "arrives" | "arrives!" => Step::Arrives {
                text: self.octets(rest)?,
                is_there: word == "arrives",
            },
            "tls" => Step::StartTls,
            "alert" => Step::Alert,
            "pause" => Step::Pause(rest.parse()?),
            "within" => Step::Within(rest.parse()?),
            "half" => Step::Half,
            "drop" => Step::Reset,
            "close" => Step::Close,
            "stored" => Step::Stored(rest.parse()?),
            _ => bail!("not a word of the notation"),
        };
        self.steps.push(step);
        Ok(())
    }

    fn log_in(&mut self, rest: &str) -> Result<()> {
        let (user, password) = rest.split_once(' ').context("user and password")?;
        self.read_line(&format!("C AUTH PLAIN ${{b64 \\0{user}\\0{password}}}"))?;
        self.read_line("S 235 2.7.0")
    }

    fn begin(&mut self, rest: &str) -> Result<()> {
        let utf8 = if rest == "utf8" { " SMTPUTF8" } else { "" };
        for line in [
            &format!("C MAIL FROM:<news@shop.example>{utf8}"),
            "S 250 2.1.0",
            "C RCPT TO:<${rcpt}>",
            "S 250 2.1.5",
            "C DATA",
            "S 354",
        ] {
            self.read_line(line)?;
        }
        Ok(())
    }

    /// A text as octets, its `${...}` filled in, from the inside out.
    fn octets(&self, text: &str) -> Result<Vec<u8>> {
        let head = format!(
            "From: news@shop.example\\r\\nTo: {}\\r\\nSubject: case\\r\\n",
            self.recipient
        );
        let text = text
            .replace("${rcpt}", &self.recipient)
            .replace("${head}", &head);
        let mut octets = Vec::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("${") {
            unescape(&rest[..start], &mut octets)?;
            let end = rest[start..].find('}').context("no end of ${")? + start;
            // A brace of the text itself stands before the last one in a row.
            let end = end + rest[end..].bytes().take_while(|b| *b == b'}').count() - 1;
            fill(&rest[start + 2..end], &mut octets)?;
            rest = &rest[end + 1..];
        }
        unescape(rest, &mut octets)?;
        Ok(octets)
    }
}

fn door(name: &str) -> Result<Door> {
    Ok(match name {
        "plain" => Door::Plain,
        "submission" => Door::Submission,
        "login" => Door::Login,
        "implicit" => Door::Implicit,
        _ => bail!("no such door"),
    })
}

fn replies(rest: &str) -> Result<Step> {
    let (start, count) = match rest.rsplit_once(" x") {
        Some((start, count)) => (start, count.parse()?),
        None => (rest, 1),
    };
    ensure!(start.len() >= 3, "no code");
    Ok(Step::Replies {
        start: start.to_owned(),
        count,
    })
}

fn fill(inside: &str, octets: &mut Vec<u8>) -> Result<()> {
    let mut one = Vec::new();
    if let Some(text) = inside.strip_prefix("b64 ") {
        unescape(text, &mut one)?;
        octets.extend(STANDARD.encode(one).bytes());
        return Ok(());
    }
    let (count, text) = inside.split_once('*').context("neither b64 nor N*")?;
    unescape(text, &mut one)?;
    octets.extend(one.repeat(count.parse()?));
    Ok(())
}

fn unescape(text: &str, octets: &mut Vec<u8>) -> Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        octets.extend(rest[..at].bytes());
        let kind = rest.as_bytes().get(at + 1).context("a lone backslash")?;
        let mut length = 2;
        octets.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                length = 4;
                let digits = rest.get(at + 2..at + 4).context("two digits")?;
                u8::from_str_radix(digits, 16)?
            }
            _ => bail!("not an escape"),
        });
        rest = &rest[at + length..];
    }
    octets.extend(rest.bytes());
    Ok(())
}
