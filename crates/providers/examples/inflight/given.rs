//! The command line: a command, then pairs of `--name value`.

use std::collections::BTreeMap;

use crate::Fault;

/// What was given.
pub(crate) struct Given {
    pub(crate) command: String,
    values: BTreeMap<String, String>,
}

impl Given {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let command = arguments.next().ok_or("give serve or send")?;
        let mut values = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            values.insert(name.trim_start_matches('-').to_owned(), value);
        }
        Ok(Self { command, values })
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Fault> {
        let value = self.values.get(name).map(String::as_str);
        value.ok_or_else(|| format!("give --{name}").into())
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64, Fault> {
        Ok(self.text(name)?.parse()?)
    }

    /// Whether HTTP/2 is to be spoken where the service offers it.
    pub(crate) fn is_http2(&self) -> Result<bool, Fault> {
        Ok(self.number("http")? == 2)
    }

    /// The message: a header and lines of text, `--bytes` in all.
    pub(crate) fn message(&self) -> Result<String, Fault> {
        let bytes = usize::try_from(self.number("bytes")?)?;
        let mut message = String::from(
            "From: Shop <news@shop.example>\r\nTo: ana@dest.example\r\nSubject: Your order 42\r\n\
             Date: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <42@shop.example>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        );
        while message.len() < bytes {
            message.push_str("Thank you for your order, it is on its way to you by now.\r\n");
        }
        Ok(message)
    }
}
