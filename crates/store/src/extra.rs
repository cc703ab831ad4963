//! What few messages have, in one column of every engine.

use std::collections::BTreeMap;

use malote_core::message::DsnParameters;
use malote_core::tracking::Tracking;
use serde::{Deserialize, Serialize};

use crate::columns::damaged;
use crate::{MessageRecord, StoreError};

/// What few messages have, in one column; absent if it is all empty.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extra {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) tracking: Tracking,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) asked_fields: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) dsn: DsnParameters,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Extra {
    /// The column of a record.
    pub(crate) fn column(record: &MessageRecord) -> Result<Option<String>, StoreError> {
        let extra = Self {
            tags: record.tags.clone(),
            metadata: record.metadata.clone(),
            tracking: record.tracking,
            asked_fields: record.asked_fields.clone(),
            dsn: record.dsn.clone(),
        };
        if is_default(&extra) {
            return Ok(None);
        }
        let text = serde_json::to_string(&extra);
        text.map(Some)
            .map_err(|_| damaged("unwritable tags or metadata"))
    }

    /// The columns' words of a text; nothing of an absent one.
    pub(crate) fn of(text: Option<&str>) -> Result<Self, StoreError> {
        text.map_or_else(
            || Ok(Self::default()),
            |text| serde_json::from_str(text).map_err(|_| damaged("unreadable extra column")),
        )
    }
}
