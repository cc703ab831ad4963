//! Addresses as the services' fields and header fields write them: `Name <local@domain>`.

/// The addresses of a list with commas between them; `None` if one of them is malformed.
pub(crate) fn addresses(text: &str) -> Option<Vec<String>> {
    let (mut list, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped, mut is_angled) = (false, false, false);
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match c {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '<' | '>' if !is_quoted => is_angled = c == '<',
            ',' if !is_quoted && !is_angled => {
                list.push(address(&text[start..at])?);
                start = at + 1;
            }
            _ => {}
        }
    }
    list.push(address(&text[start..])?);
    Some(list)
}

/// The address of one mailbox.
pub(crate) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let Some(rest) = text.strip_suffix('>') else {
        return is_address(text).then(|| text.to_owned());
    };
    let (name, address) = rest.rsplit_once('<')?;
    (is_name(name.trim()) && is_address(address)).then(|| address.to_owned())
}

/// RFC 5322 3.2.5: what is no word goes in quotes.
fn is_name(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('"') {
        let inner = inner.strip_suffix('"').unwrap_or("\"");
        let mut is_escaped = false;
        return inner.chars().all(|c| {
            let is_plain = is_escaped || c != '"';
            is_escaped = c == '\\' && !is_escaped;
            is_plain && !c.is_control()
        });
    }
    !name.contains(|c: char| c.is_control() || "()<>[]:;@\\,\"".contains(c))
}

/// Whether a text is one address.
pub(crate) fn is_address(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let is_local = match local.strip_prefix('"') {
        Some(inner) => inner.len() > 1 && inner.ends_with('"'),
        None => {
            let special = |c: char| c.is_whitespace() || "()<>[]:;@\\,\"".contains(c);
            !local.is_empty() && !local.contains(special)
        }
    };
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    is_local && !address.contains(char::is_control) && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_where_a_mail_reader_splits_it() {
        let text = "a@x.test, \"Shop, \\\"Inc\\\"\" <b@x.test>,José <c@x.test> , \"d,e\"@x.test";
        let expected = ["a@x.test", "b@x.test", "c@x.test", "\"d,e\"@x.test"];
        assert_eq!(addresses(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_mailbox_is_none() {
        for bad in [
            "",
            "a",
            "@x.test",
            "a@",
            "a@x..test",
            "a b@x.test",
            "a@x.test,",
            "Shop, Inc <a@x.test>",
            "a@b <a@x.test>",
            "\"Shop <a@x.test>",
            "<a@x.test> b",
            "A <a@x.test",
            "a@x.test\r\nBcc: b@x.test",
        ] {
            assert_eq!(addresses(bad), None, "{bad:?}");
        }
    }
}
