//! The words of a JSON submission, as the API's description shows them.

use std::collections::BTreeMap;
use std::fmt;

use malote_core::tracking::Tracking;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// One message. At least one recipient, and `text` or `html`, must be given.
#[derive(Debug, Clone, Default, PartialEq, DeserializeDerive, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageRequest {
    /// Who it is from; its domain must be one of the credential's.
    #[schema(required = true, nullable = false)]
    pub(crate) from: Option<AddressInput>,
    /// Recipients that everybody sees. All recipients together are at most 1,000.
    pub(crate) to: Option<Vec<AddressInput>>,
    /// Recipients that everybody sees, as copies.
    pub(crate) cc: Option<Vec<AddressInput>>,
    /// Recipients that nobody sees.
    pub(crate) bcc: Option<Vec<AddressInput>>,
    /// Where answers go, at most 25.
    pub(crate) reply_to: Option<Vec<AddressInput>>,
    /// The subject, at most 2,000 octets, no control characters.
    #[schema(max_length = 2000)]
    pub(crate) subject: Option<String>,
    /// The body as plain text.
    pub(crate) text: Option<String>,
    /// The body as HTML.
    pub(crate) html: Option<String>,
    /// Further header fields, at most 64. Fields that the gateway writes itself, `X-Malote-*`,
    /// and the providers' control fields are refused.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// Files, at most 50.
    pub(crate) attachments: Option<Vec<AttachmentInput>>,
    /// The stream it goes out on; without it the operator's rules and the credential decide.
    #[schema(example = "transactional")]
    pub(crate) stream: Option<String>,
    /// At most 10 tags of 128 octets, for search.
    pub(crate) tags: Option<Vec<String>>,
    /// At most 20 pairs; names of 64 octets, values of 1,024.
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    /// What the service is to track; what is not given here the stream decides, at last the
    /// service's own settings.
    pub(crate) tracking: Option<TrackingInput>,
    /// When to send (RFC 3339), at most 7 days ahead. A past time is now.
    #[schema(format = DateTime)]
    pub(crate) send_at: Option<String>,
}

/// Whether the service shows who opens the message and who follows its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeserializeDerive, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tracking)]
pub(crate) struct TrackingInput {
    /// Whether opens are tracked.
    pub(crate) opens: Option<bool>,
    /// Whether clicks are tracked.
    pub(crate) clicks: Option<bool>,
}

impl From<&TrackingInput> for Tracking {
    fn from(input: &TrackingInput) -> Self {
        Self {
            opens: input.opens,
            clicks: input.clicks,
        }
    }
}

/// One mailbox: `"a@b.example"`, `"Name <a@b.example>"`, or an object.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Address)]
pub(crate) enum AddressInput {
    /// `a@b.example` or `Name <a@b.example>`.
    #[schema(example = "Ana Silva <ana@dest.example>")]
    Text(String),
    /// Address and name apart.
    Object(AddressObject),
}

/// One mailbox, address and name apart.
#[derive(Debug, Clone, PartialEq, Serialize, DeserializeDerive, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressObject {
    /// The address, without name and angle brackets.
    #[schema(example = "ana@dest.example")]
    pub(crate) email: String,
    /// The name shown, at most 256 octets.
    #[schema(example = "Ana Silva")]
    pub(crate) name: Option<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, DeserializeDerive, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Attachment)]
pub(crate) struct AttachmentInput {
    /// Its name, at most 255 octets; path separators become `_`.
    pub(crate) filename: String,
    /// Its media type; default `application/octet-stream`. Neither `multipart/*` nor `message/*`.
    #[schema(example = "application/pdf")]
    pub(crate) content_type: Option<String>,
    /// Its octets in base64 (RFC 4648 4; line ends are ignored).
    #[schema(format = Byte)]
    pub(crate) content: String,
    /// A name by which the HTML shows it inline, as in `<img src="cid:logo">`.
    pub(crate) content_id: Option<String>,
}

impl<'de> Deserialize<'de> for AddressInput {
    /// By hand, since a derived untagged enum loses the place and the reason of a fault.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherForm;

        impl<'de> Visitor<'de> for EitherForm {
            type Value = AddressInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address as a string or as {\"email\", \"name\"}")
            }

            fn visit_str<E>(self, text: &str) -> Result<AddressInput, E> {
                Ok(AddressInput::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<AddressInput, E> {
                Ok(AddressInput::Text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AddressInput, A::Error> {
                AddressObject::deserialize(MapAccessDeserializer::new(map))
                    .map(AddressInput::Object)
            }
        }

        deserializer.deserialize_any(EitherForm)
    }
}

/// A batch: each message is accepted or refused by itself.
#[derive(Debug, DeserializeDerive, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// 1 to 500 messages.
    #[schema(value_type = Vec<BatchMessage>, min_items = 1, max_items = 500)]
    pub(crate) messages: Vec<serde_json::Value>,
}

/// One message of a batch: a message with its own idempotency key, which is taken out before the
/// rest is read as a [`MessageRequest`]. Only its description is needed.
#[derive(Debug)]
pub(crate) struct BatchMessage;

impl PartialSchema for BatchMessage {
    fn schema() -> RefOr<Schema> {
        let mut schema = MessageRequest::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            let key = ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255))
                .description(Some(
                    "Visible ASCII characters; a repeat within 24 h is answered like the first.",
                ));
            let name = "idempotency_key".to_owned();
            object.properties.insert(name, key.build().into());
            object.description = Some("A message with its own idempotency key.".to_owned());
        }
        schema
    }
}

impl ToSchema for BatchMessage {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        MessageRequest::schemas(schemas);
    }
}
