//! What each service publishes of its API in a form that a program can check against.

use malote_sandbox::Kind;

/// What is published by a service.
pub(in crate::corpus) struct Description {
    /// The service.
    pub(in crate::corpus) kind: Kind,
    /// The package and the names in it; why there is none.
    pub(in crate::corpus) source: &'static str,
    /// The package's licence, as it says; nothing of it is part of malote.
    pub(in crate::corpus) licence: &'static str,
    /// What is checked.
    pub(in crate::corpus) checked: &'static str,
    /// How.
    pub(super) by: By,
}

/// How a description is checked.
pub(super) enum By {
    /// By the compiler, against the types of the service's client for TypeScript.
    Types(Types),
    /// By `tests/clients/describe.py`.
    Model,
    /// There is none to be had from a package registry.
    Nothing,
}

/// The types of a client.
pub(super) struct Types {
    /// What is imported, as TypeScript writes it.
    pub(super) import: &'static str,
    /// The type of a request's body.
    pub(super) request: &'static str,
    /// A member that a spoilt request has in a wrong type.
    pub(super) member: &'static str,
    /// Whether a request without it is refused.
    pub(super) need: Need,
    /// The type of an answer of success, and of a failure, where the client has one.
    pub(super) answer: Option<&'static str>,
    pub(super) failure: Option<&'static str>,
    /// The path that is posted to.
    pub(super) path: &'static str,
}

/// Whether a description asks for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

const REQUEST: &str = "names and types of the members of requests, which are required";
const ALSO_ANSWERS: &str =
    "names and types of the members of requests and answers, which are required";

/// All of them, in the order of the pages.
pub(in crate::corpus) const DESCRIPTIONS: &[Description] = &[
    Description {
        kind: Kind::Ses,
        source: "`botocore` (PyPI): the model of `sesv2`",
        licence: "Apache-2.0",
        checked: "operation, members, types and bounds of requests, the signature, answers and error codes",
        by: By::Model,
    },
    Description {
        kind: Kind::Mailgun,
        source: "`mailgun.js` (npm): `MailgunMessageData`; it lacks `o:sending-ip-pool` and `o:suppress-headers`, which the API reference has",
        licence: "MIT",
        checked: "names of the form's fields, their types and choices; the answer's members",
        by: By::Types(Types {
            import: "import type { MailgunMessageData, MessagesSendAPIResponse } from \"mailgun.js/Types/Messages/Messages\";\n\
                     type Mailgun = Named<MailgunMessageData> & { \"o:sending-ip-pool\"?: string; \"o:suppress-headers\"?: string; [variable: `v:${string}`]: string };",
            request: "Mailgun",
            member: "to",
            need: Need::Optional,
            answer: Some("MessagesSendAPIResponse[\"body\"]"),
            failure: None,
            path: "/v3/news.example.com/messages.mime",
        }),
    },
    Description {
        kind: Kind::Sendgrid,
        source: "`@sendgrid/helpers` (npm): `MailJSON`",
        licence: "MIT",
        checked: REQUEST,
        by: By::Types(Types {
            import: "import type { MailJSON } from \"@sendgrid/helpers/classes/mail\";",
            request: "MailJSON",
            member: "personalizations",
            need: Need::Required,
            answer: None,
            failure: None,
            path: "/v3/mail/send",
        }),
    },
    Description {
        kind: Kind::Postmark,
        source: "`postmark` (npm): `Message`, `MessageSendingResponse`, `DefaultResponse`; it asks for a `ContentID`, which the API does not",
        licence: "MIT",
        checked: ALSO_ANSWERS,
        by: By::Types(Types {
            import: "import type { Message, MessageSendingResponse } from \"postmark/dist/client/models/message/Message\";\n\
                     import type { Attachment } from \"postmark/dist/client/models/message/SupportingTypes\";\n\
                     import type { DefaultResponse } from \"postmark/dist/client/models/client/DefaultResponse\";\n\
                     type File = Omit<Attachment, \"ContentID\"> & { ContentID?: string };\n\
                     type Postmark = Omit<Message, \"Attachments\"> & { Attachments?: File[] };",
            request: "Postmark",
            member: "From",
            need: Need::Required,
            answer: Some("MessageSendingResponse"),
            failure: Some("DefaultResponse"),
            path: "/email",
        }),
    },
    Description {
        kind: Kind::Sparkpost,
        source: "`@types/sparkpost` (npm), written by others: `CreateTransmission`; it lacks `perform_substitutions`, which the API reference has",
        licence: "MIT",
        checked: ALSO_ANSWERS,
        by: By::Types(Types {
            import: "import type { CreateTransmission } from \"sparkpost\";\n\
                     type Sparkpost = CreateTransmission & { options?: { perform_substitutions?: boolean } };",
            request: "Sparkpost",
            member: "content",
            need: Need::Required,
            answer: Some(
                "{ results: { total_rejected_recipients: number; total_accepted_recipients: number; id: string } }",
            ),
            failure: None,
            path: "/api/v1/transmissions",
        }),
    },
    Description {
        kind: Kind::Elasticemail,
        source: "`@elasticemail/elasticemail-client-ts-axios` (npm), made of its OpenAPI description: `EmailTransactionalMessageData`, `EmailSend`",
        licence: "MIT",
        checked: ALSO_ANSWERS,
        by: By::Types(Types {
            import: "import type { EmailSend, EmailTransactionalMessageData } from \"@elasticemail/elasticemail-client-ts-axios\";",
            request: "EmailTransactionalMessageData",
            member: "Recipients",
            need: Need::Required,
            answer: Some("EmailSend"),
            failure: None,
            path: "/v4/emails/transactional",
        }),
    },
    Description {
        kind: Kind::Smtp2go,
        source: "none: its OpenAPI description is in no package",
        licence: "",
        checked: "",
        by: By::Nothing,
    },
    Description {
        kind: Kind::Postal,
        source: "none: its API is documented in prose",
        licence: "",
        checked: "",
        by: By::Nothing,
    },
    Description {
        kind: Kind::Brevo,
        source: "`@getbrevo/brevo` (npm), made of its OpenAPI description: `SendTransacEmailRequest`, `SendTransacEmailResponse`, `ErrorModel`",
        licence: "not stated",
        checked: ALSO_ANSWERS,
        by: By::Types(Types {
            import: "import type { SendTransacEmailRequest } from \"@getbrevo/brevo/dist/cjs/api/resources/transactionalEmails/client/requests/SendTransacEmailRequest\";\n\
                     import type { SendTransacEmailResponse } from \"@getbrevo/brevo/dist/cjs/api/resources/transactionalEmails/types/SendTransacEmailResponse\";\n\
                     import type { ErrorModel } from \"@getbrevo/brevo/dist/cjs/api/types/ErrorModel\";",
            request: "SendTransacEmailRequest",
            member: "to",
            need: Need::Optional,
            answer: Some("SendTransacEmailResponse"),
            failure: Some("ErrorModel"),
            path: "/v3/smtp/email",
        }),
    },
    Description {
        kind: Kind::Mailjet,
        source: "`node-mailjet` (npm): `SendEmailV3_1.Body`",
        licence: "MIT",
        checked: REQUEST,
        by: By::Types(Types {
            import: "import type { SendEmailV3_1 } from \"node-mailjet/declarations/types/api/SendEmail\";",
            request: "SendEmailV3_1.Body",
            member: "Messages",
            need: Need::Required,
            answer: None,
            failure: None,
            path: "/v3.1/send",
        }),
    },
    Description {
        kind: Kind::Mailtrap,
        source: "`mailtrap` (npm): `Mail`, `SendResponse`, `SendError`",
        licence: "MIT",
        checked: ALSO_ANSWERS,
        by: By::Types(Types {
            import: "import type { Mail, SendError, SendResponse } from \"mailtrap/dist/types/mailtrap\";",
            request: "Mail",
            member: "from",
            need: Need::Required,
            answer: Some("SendResponse"),
            failure: Some("SendError"),
            path: "/api/send",
        }),
    },
    Description {
        kind: Kind::Resend,
        source: "`resend` (PyPI): `Emails.SendParams`",
        licence: "MIT",
        checked: ALSO_ANSWERS,
        by: By::Model,
    },
];
