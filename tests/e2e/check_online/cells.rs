//! What can be found at which service, before mail fails on it: the table of the test and of the
//! pages.

use malote_sandbox::Kind;

/// What is said of one thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A finding that begins so.
    Finds(&'static str),
    /// The account is no good at all, for this reason.
    Refused(&'static str),
    /// The service cannot be asked, which is told with where to look.
    Unasked,
    /// There is nothing of the kind by this way.
    Without,
}

/// One way to a service.
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// `api` or `smtp`.
    pub(crate) way: &'static str,
    /// A sender domain that is not verified.
    pub(crate) sender: Cell,
    /// The key of a pool's table that chooses at the service, and what is said of one that is not
    /// there.
    pub(crate) pool: (&'static str, Cell),
    /// An account that may not mail everybody.
    pub(crate) account: Cell,
}

const SENDER: Cell = Cell::Finds("sender shop.example: ");
const POOL: Cell = Cell::Finds("pool x: ");
const ACCOUNT: Cell = Cell::Finds("account: ");

const fn row(
    kind: Kind,
    way: &'static str,
    sender: Cell,
    pool: (&'static str, Cell),
    account: Cell,
) -> Row {
    Row {
        kind,
        way,
        sender,
        pool,
        account,
    }
}

const fn api(kind: Kind, sender: Cell, pool: (&'static str, Cell), account: Cell) -> Row {
    row(kind, "api", sender, pool, account)
}

const fn smtp(kind: Kind, sender: Cell, pool_key: &'static str) -> Row {
    let pool = match pool_key.is_empty() {
        true => Cell::Without,
        false => Cell::Unasked,
    };
    row(kind, "smtp", sender, (pool_key, pool), Cell::Unasked)
}

const NO_POOLS: (&str, Cell) = ("", Cell::Without);

/// Every way to every service.
pub(crate) const ROWS: &[Row] = &[
    api(Kind::Ses, SENDER, ("configuration_set", POOL), ACCOUNT),
    // Any From goes; the domain of the table must be verified.
    api(
        Kind::Mailgun,
        Cell::Finds("account: news.example.com is unverified"),
        ("sending_ip_pool", POOL),
        ACCOUNT,
    ),
    api(Kind::Sendgrid, SENDER, ("ip_pool_name", POOL), ACCOUNT),
    api(
        Kind::Postmark,
        Cell::Unasked,
        ("message_stream", POOL),
        ACCOUNT,
    ),
    api(Kind::Sparkpost, SENDER, ("ip_pool", POOL), ACCOUNT),
    api(
        Kind::Elasticemail,
        SENDER,
        ("pool_name", Cell::Unasked),
        Cell::Unasked,
    ),
    api(Kind::Smtp2go, SENDER, NO_POOLS, ACCOUNT),
    api(Kind::Postal, SENDER, NO_POOLS, Cell::Unasked),
    api(
        Kind::Brevo,
        SENDER,
        NO_POOLS,
        Cell::Refused("not activated"),
    ),
    api(Kind::Resend, SENDER, NO_POOLS, ACCOUNT),
    api(Kind::Mailjet, SENDER, NO_POOLS, ACCOUNT),
    api(Kind::Mailtrap, SENDER, NO_POOLS, ACCOUNT),
    smtp(Kind::Ses, Cell::Unasked, "configuration_set"),
    smtp(Kind::Mailgun, Cell::Unasked, "sending_ip_pool"),
    smtp(Kind::Sendgrid, SENDER, "ip_pool_name"),
    smtp(Kind::Postmark, Cell::Unasked, "message_stream"),
    smtp(Kind::Sparkpost, Cell::Unasked, "ip_pool"),
    smtp(Kind::Elasticemail, Cell::Unasked, "channel"),
    smtp(Kind::Smtp2go, Cell::Unasked, ""),
    smtp(Kind::Postal, Cell::Unasked, ""),
    smtp(Kind::Brevo, Cell::Unasked, ""),
    smtp(Kind::Resend, Cell::Unasked, ""),
    smtp(Kind::Mailjet, Cell::Unasked, ""),
    smtp(Kind::Mailtrap, Cell::Unasked, ""),
    smtp(Kind::Smtp, SENDER, ""),
];
