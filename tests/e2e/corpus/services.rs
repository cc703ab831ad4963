//! The services: the lines that put each into a configuration, and what is in doubt of it.

use malote_sandbox::Kind;

/// One service.
pub(super) struct Service {
    /// Its simulator.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) title: &'static str,
    /// Its own API; none for a server that has only SMTP.
    pub(super) api: Option<Lines>,
    /// How its API takes messages, as the run must find it.
    pub(super) form: &'static str,
    /// Its SMTP, by its own kind or by a preset.
    pub(super) smtp: Lines,
    /// Its webhook, if events come back from it.
    pub(super) webhook: Option<Webhook>,
    /// What nobody outside of the service knows for certain.
    pub(super) doubts: &'static [&'static str],
}

/// How events come back.
pub(super) struct Webhook {
    /// What stands in its table.
    pub(super) table: &'static str,
    /// What is typed into the service's console.
    pub(super) console: &'static str,
}

/// What stands in the configuration for one way to send.
pub(super) struct Lines {
    /// The table of the kind, under `[providers.NAME]`, its header line left out.
    pub(super) table: &'static str,
    /// Whether it is a table of kind `smtp`.
    pub(super) is_preset: bool,
    /// A key of a pool's table and its value.
    pub(super) pool: Option<(&'static str, &'static str)>,
    /// Who logs in by SMTP, and with what; by API the simulators' default account.
    pub(super) login: (&'static str, &'static str),
}

/// The variables that the lines name, with what the simulators know.
pub(super) const SECRETS: [(&str, &str); 27] = [
    ("M365_SECRET", "0123456789abcdef"),
    ("GOOGLE_SECRET", "0123456789abcdef"),
    ("GOOGLE_REFRESH_TOKEN", "0123456789abcdef"),
    ("MAILGUN_KEY", "key-sandbox"),
    ("SENDGRID_KEY", "key-sandbox"),
    ("POSTMARK_TOKEN", "key-sandbox"),
    ("SPARKPOST_KEY", "key-sandbox"),
    ("ELASTICEMAIL_KEY", "key-sandbox"),
    ("SMTP2GO_KEY", "key-sandbox"),
    ("POSTAL_KEY", "key-sandbox"),
    ("BREVO_KEY", "key-sandbox"),
    ("MAILJET_KEY", "key-sandbox"),
    ("MAILTRAP_TOKEN", "key-sandbox"),
    ("RESEND_KEY", "key-sandbox"),
    ("MAILJET_SECRET", "second-half"),
    ("MAILGUN_SIGNING_KEY", "signing-key-sandbox"),
    ("POSTMARK_WEBHOOK_SECRET", "webhook-secret-sandbox"),
    ("SPARKPOST_WEBHOOK_SECRET", "webhook-secret-sandbox"),
    ("ELASTICEMAIL_WEBHOOK_SECRET", "webhook-secret-sandbox"),
    ("SMTP2GO_WEBHOOK_SECRET", "webhook-secret-sandbox"),
    ("SMTP_PASSWORD", "key-sandbox"),
    ("BREVO_WEBHOOK_SECRET", "0123456789abcdef"),
    ("MAILJET_WEBHOOK_SECRET", "0123456789abcdef"),
    ("MAILTRAP_SIGNING_SECRET", "0123456789abcdef"),
    ("RESEND_SIGNING_SECRET", "whsec_d2ViaG9vay1zYW5kYm94"),
    (
        "POSTAL_PUBLIC_KEY",
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxQVjykrXk71ws+PZ7M58HEtV4p+d14rdmn1ukrlT7sMZiktCBQz9cegN9UR6QLibOHtpDwOuILyfLENxR2DoFX/0CihYr8tm21zuBPjKhHj86JujVWvNSjcQ27gC8dDFKhU7qn252jABiSeIMcD8SoPcaWkER7P0wNwzCNI9TDRsVSkDahevDTeuU4JJuDwWiBMZ9+TD+UqRMxvuttCQjBg7a9lYGGy+Edme24hcu1/r187TfU9k8NuH8XwtNdbw5Jx4KL64DbyD9DMby24YAMYrUNcCQjmkIlz8B9UAIjFnOWPSqrXzPRkNwQX+1NwatfGrcC8FLaFN1e5McCtx9wIDAQAB",
    ),
    ("AWS_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
];

/// The user of services that want one of the account's.
const USER: &str = "mail@shop.example";
/// The password behind [`SECRETS`].
const PASSWORD: &str = "key-sandbox";

const fn api(table: &'static str, pool: Option<(&'static str, &'static str)>) -> Option<Lines> {
    Some(Lines {
        table,
        is_preset: false,
        pool,
        login: ("", ""),
    })
}

/// The kind's own `transport = "smtp"`.
const fn own(
    table: &'static str,
    pool: Option<(&'static str, &'static str)>,
    user: &'static str,
) -> Lines {
    Lines {
        table,
        is_preset: false,
        pool,
        login: (user, PASSWORD),
    }
}

/// A table of kind `smtp`.
const fn preset(
    table: &'static str,
    pool: Option<(&'static str, &'static str)>,
    user: &'static str,
) -> Lines {
    Lines {
        is_preset: true,
        ..own(table, pool, user)
    }
}

/// All of them, in the order of their pages.
pub(super) const SERVICES: &[Service] = &[
    Service {
        kind: Kind::Ses,
        title: "Amazon SES",
        api: api(
            "region = \"us-east-1\"\n\
             access_key_id = \"AKIAIOSFODNN7EXAMPLE\"\n\
             secret_access_key_env = \"AWS_SECRET\"\n",
            Some(("configuration_set", "transactional")),
        ),
        form: "MIME",
        smtp: preset(
            "preset = \"ses\"\n\
             region = \"us-east-1\"\n\
             access_key_id = \"AKIAIOSFODNN7EXAMPLE\"\n\
             secret_access_key_env = \"AWS_SECRET\"   # the password of SMTP is derived from it\n",
            Some(("configuration_set", "transactional")),
            "AKIAIOSFODNN7EXAMPLE",
        ),
        webhook: Some(Webhook {
            table: "topic_arns = [\"arn:aws:sns:us-east-1:123456789012:malote\"]\n",
            console: "An SNS topic, an event destination of the configuration set that publishes to it, and an HTTPS subscription of the topic to `https://GATEWAY/v1/webhooks/ses`, which confirms itself.",
        }),
        doubts: &[
            "The service puts a Message-ID of its own in place of the message's.",
            "A part that had to be encoded breaks a signature of the client; the service's own is made behind that.",
        ],
    },
    Service {
        kind: Kind::Mailgun,
        title: "Mailgun",
        api: api(
            "domain = \"news.example.com\"\napi_key_env = \"MAILGUN_KEY\"\n",
            Some(("sending_ip_pool", "pool-1")),
        ),
        form: "MIME",
        smtp: preset(
            "preset = \"mailgun\"\nuser = \"mail@shop.example\"\npassword_env = \"SMTP_PASSWORD\"\n",
            Some(("sending_ip_pool", "pool-1")),
            USER,
        ),
        webhook: Some(Webhook {
            table: "signing_key_env = \"MAILGUN_SIGNING_KEY\"\n",
            console: "Send, Webhooks: `https://GATEWAY/v1/webhooks/mailgun` for each kind of event. The signing key stands on the same page.",
        }),
        doubts: &[],
    },
    Service {
        kind: Kind::Sendgrid,
        title: "SendGrid",
        api: api(
            "api_key_env = \"SENDGRID_KEY\"\ntransport = \"api\"\n",
            Some(("ip_pool_name", "news")),
        ),
        form: "fields",
        smtp: own(
            "api_key_env = \"SENDGRID_KEY\"\n",
            Some(("ip_pool_name", "news")),
            "apikey",
        ),
        webhook: Some(Webhook {
            table: "public_key = \"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==\"\n",
            console: "Settings, Mail Settings, Event Webhook: `https://GATEWAY/v1/webhooks/sendgrid`, all events, signature verification on; the key is shown then.",
        }),
        doubts: &[],
    },
    Service {
        kind: Kind::Postmark,
        title: "Postmark",
        api: api(
            "server_token_env = \"POSTMARK_TOKEN\"\ntransport = \"api\"\n",
            Some(("message_stream", "broadcast")),
        ),
        form: "fields",
        smtp: own(
            "server_token_env = \"POSTMARK_TOKEN\"\n\
             endpoint = \"smtp://smtp-broadcasts.postmarkapp.com\"   # a transactional stream's is smtp.postmarkapp.com\n",
            Some(("message_stream", "broadcast")),
            PASSWORD,
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"POSTMARK_WEBHOOK_SECRET\"\n",
            console: "Server, Message Stream, Webhooks: `https://GATEWAY/v1/webhooks/postmark`, Basic auth with any user and the secret as the password, for delivery, bounce, spam complaint and subscription change; one webhook for each stream. A complaint comes as both records of it, and counts once.",
        }),
        doubts: &[
            "Whether a header field in UTF-8 that is passed on as it is gets encoded is not documented.",
        ],
    },
    Service {
        kind: Kind::Sparkpost,
        title: "SparkPost",
        api: api(
            "api_key_env = \"SPARKPOST_KEY\"\n",
            Some(("ip_pool", "news")),
        ),
        form: "MIME",
        smtp: preset(
            "preset = \"sparkpost\"\npassword_env = \"SMTP_PASSWORD\"\n",
            Some(("ip_pool", "news")),
            "SMTP_Injection",
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"SPARKPOST_WEBHOOK_SECRET\"\n",
            console: "Webhooks: `https://GATEWAY/v1/webhooks/sparkpost`, Basic Auth with any user and the secret as the password. The service asks once before it saves the webhook.",
        }),
        doubts: &[],
    },
    Service {
        kind: Kind::Elasticemail,
        title: "Elastic Email",
        api: api(
            "api_key_env = \"ELASTICEMAIL_KEY\"\ntransport = \"api\"\n",
            Some(("pool_name", "news")),
        ),
        form: "fields",
        smtp: own(
            "api_key_env = \"ELASTICEMAIL_KEY\"\nuser = \"mail@shop.example\"\n",
            Some(("channel", "news")),
            USER,
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"ELASTICEMAIL_WEBHOOK_SECRET\"\n",
            console: "Settings, Notifications: `https://GATEWAY/v1/webhooks/elasticemail/SECRET` as the notification URL, with the secret in its place. The account's settings must allow custom headers by SMTP.",
        }),
        doubts: &[
            "Whether a header field in UTF-8 that is passed on as it is gets encoded is not documented.",
            "Whether its API takes `Date` and `Message-ID` from a client is not documented, so neither is passed on.",
        ],
    },
    Service {
        kind: Kind::Smtp2go,
        title: "SMTP2GO",
        api: api("api_key_env = \"SMTP2GO_KEY\"\n", None),
        form: "MIME or fields",
        smtp: own(
            "api_key_env = \"SMTP_PASSWORD\"   # the SMTP user's password\n\
             user = \"mail@shop.example\"\n\
             transport = \"smtp\"\n",
            None,
            USER,
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"SMTP2GO_WEBHOOK_SECRET\"\n",
            console: "Settings, Webhooks: `https://GATEWAY/v1/webhooks/smtp2go`, Authorization header with the secret as a bearer token, or `https://GATEWAY/v1/webhooks/smtp2go/SECRET`. Any output format; name the header field `X-Malote-Id` under custom headers, by which events of raw mail find theirs.",
        }),
        doubts: &["Whether `email/mime` keeps the octets of a message is not documented."],
    },
    Service {
        kind: Kind::Postal,
        title: "Postal",
        api: api(
            "endpoint = \"https://postal.shop.example\"\nserver_key_env = \"POSTAL_KEY\"\n",
            None,
        ),
        form: "MIME",
        smtp: preset(
            "preset = \"postal\"\nhost = \"postal.shop.example\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            "malote",
        ),
        webhook: Some(Webhook {
            table: "public_key_env = \"POSTAL_PUBLIC_KEY\"\n",
            console: "Mail server, Webhooks: `https://GATEWAY/v1/webhooks/postal`, all events, sign requests. The key is the `p=` of what `postal default-dkim-record` prints on the installation.",
        }),
        doubts: &[],
    },
    Service {
        kind: Kind::Brevo,
        title: "Brevo",
        api: api("api_key_env = \"BREVO_KEY\"\n", None),
        form: "fields",
        smtp: preset(
            "preset = \"brevo\"\nuser = \"mail@shop.example\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            USER,
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"BREVO_WEBHOOK_SECRET\"\n",
            console: "Transactional, Settings, Webhook: `https://GATEWAY/v1/webhooks/brevo`, all events, authentication by token with the secret as the token, or by any user with the secret as the password.",
        }),
        doubts: &[
            "A sender that is not verified is mostly accepted, and an event tells later that nothing was sent.",
        ],
    },
    Service {
        kind: Kind::Mailjet,
        title: "Mailjet",
        api: api(
            "api_key_env = \"MAILJET_KEY\"\nsecret_key_env = \"MAILJET_SECRET\"\n",
            None,
        ),
        form: "fields",
        smtp: preset(
            "preset = \"mailjet\"\nuser = \"mail@shop.example\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            USER,
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"MAILJET_WEBHOOK_SECRET\"\n",
            console: "Account settings, Event notifications: `https://malote:SECRET@GATEWAY/v1/webhooks/mailjet` for each kind of event, with the secret in its place; events may be grouped.",
        }),
        doubts: &[
            "Whether a header field in UTF-8 that is passed on as it is gets encoded is not documented.",
        ],
    },
    Service {
        kind: Kind::Mailtrap,
        title: "Mailtrap",
        api: api("api_token_env = \"MAILTRAP_TOKEN\"\n", None),
        form: "fields",
        smtp: preset(
            "preset = \"mailtrap\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            "api",
        ),
        webhook: Some(Webhook {
            table: "signing_key_env = \"MAILTRAP_SIGNING_SECRET\"\n",
            console: "Settings, Webhooks: `https://GATEWAY/v1/webhooks/mailtrap`, Email Sending, all events, JSON or JSON Lines; one webhook for each stream and domain. The signing secret is shown when it is made. Where a login in the URL is preferred, its password is `secret`, in the place of `signing_key`.",
        }),
        doubts: &[
            "Whether its API takes `Date` and `Message-ID` from a client is not documented, so neither is passed on.",
        ],
    },
    Service {
        kind: Kind::Resend,
        title: "Resend",
        api: api("api_key_env = \"RESEND_KEY\"\n", None),
        form: "fields",
        smtp: preset(
            "preset = \"resend\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            "resend",
        ),
        webhook: Some(Webhook {
            table: "secret_env = \"RESEND_SIGNING_SECRET\"\n",
            console: "Webhooks, Add Webhook: `https://GATEWAY/v1/webhooks/resend`, all events of emails. The signing secret, `whsec_` and more, stands on the webhook's page.",
        }),
        doubts: &[
            "Whether a header field in UTF-8 that is passed on as it is gets encoded is not documented.",
        ],
    },
    Service {
        kind: Kind::Smtp,
        title: "SMTP servers",
        api: None,
        form: "",
        smtp: preset(
            "host = \"mail.example.com\"\nuser = \"mail@shop.example\"\npassword_env = \"SMTP_PASSWORD\"\n",
            None,
            USER,
        ),
        webhook: None,
        doubts: &[],
    },
];
