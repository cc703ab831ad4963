//! The command line: a word, then `--name value` pairs.

use std::collections::BTreeMap;

use crate::Fault;

/// What was given.
pub(crate) struct Given {
    pub(crate) command: String,
    values: BTreeMap<String, String>,
}

impl Given {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let command = words.next().ok_or("say work or leases")?;
        let mut values = BTreeMap::new();
        while let Some(name) = words.next() {
            let key = name.strip_prefix("--").ok_or("values are --name value")?;
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            values.insert(key.to_owned(), value);
        }
        Ok(Self { command, values })
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Fault> {
        let value = self.values.get(name).map(String::as_str);
        Ok(value.ok_or_else(|| format!("--{name} is missing"))?)
    }

    pub(crate) fn number(&self, name: &str) -> Result<usize, Fault> {
        let value = self.text(name)?.parse();
        Ok(value.map_err(|_| format!("--{name} must be a whole number"))?)
    }
}
