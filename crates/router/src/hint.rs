//! Messages for names that do not exist, with the nearest one that does.

/// Most names listed where none is near.
const NAMES_LISTED_MAX: usize = 8;

/// Says that there is no `kind` called `wanted`, and which one was probably meant.
pub(crate) fn unknown<'k>(
    kind: &str,
    wanted: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(wanted, &known) {
        return format!("there is no {kind} {wanted:?}: did you mean {near:?}?");
    }
    if known.is_empty() {
        return format!("there is no {kind} {wanted:?}: none is configured");
    }
    let listed = known.iter().take(NAMES_LISTED_MAX).copied();
    let mut names = listed.collect::<Vec<_>>().join(", ");
    if known.len() > NAMES_LISTED_MAX {
        names.push_str(", ...");
    }
    format!("there is no {kind} {wanted:?}: choose one of {names}")
}

/// Which of `known` was probably meant by `wanted`, as the end of a message; nothing if none is
/// near.
pub(crate) fn proposal<'k>(wanted: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = nearest(wanted, &known);
    near.map_or_else(String::new, |near| format!(": did you mean {near:?}?"))
}

/// The known name with the fewest typing errors between, if they are few for its length.
fn nearest<'k>(wanted: &str, known: &[&'k str]) -> Option<&'k str> {
    let errors_max = (wanted.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), *name))
        .filter(|(errors, _)| *errors <= errors_max)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_proposed_and_a_far_one_is_not() {
        let known = ["mailgun", "relay", "ses"];
        for (wanted, says) in [
            ("sse", "there is no provider \"sse\": did you mean \"ses\"?"),
            (
                "mialgum",
                "there is no provider \"mialgum\": did you mean \"mailgun\"?",
            ),
            (
                "postmark",
                "there is no provider \"postmark\": choose one of mailgun, relay, ses",
            ),
        ] {
            assert_eq!(unknown("provider", wanted, known), says);
        }
        assert_eq!(
            unknown("route", "x", []),
            "there is no route \"x\": none is configured"
        );
    }
}
