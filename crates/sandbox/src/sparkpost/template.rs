//! The template language as far as finished mail meets it: what stands between `{{` and `}}` is
//! replaced, in header fields always, in the rest unless the call says otherwise
//! (developers.sparkpost.com, "Template Language").

use serde_json::Value;

use super::Problem;

/// Replaces every expression of `text`. A name without a value leaves nothing.
pub(super) fn render(text: &str, data: &[&Value]) -> Result<String, Problem> {
    let mut rendered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        rendered.push_str(before);
        let (after, end) = match after.strip_prefix('{') {
            Some(inner) => (inner, "}}}"),
            None => (after, "}}"),
        };
        let Some((expression, behind)) = after.split_once(end) else {
            return Err(syntax_error("an expression is not closed"));
        };
        rendered.push_str(&value_of(expression.trim(), data)?);
        rest = behind;
    }
    rendered.push_str(rest);
    Ok(rendered)
}

fn value_of(expression: &str, data: &[&Value]) -> Result<String, Problem> {
    let brace = match expression {
        "opening_single_curly()" => Some("{"),
        "closing_single_curly()" => Some("}"),
        "opening_double_curly()" => Some("{{"),
        "closing_double_curly()" => Some("}}"),
        "opening_triple_curly()" => Some("{{{"),
        "closing_triple_curly()" => Some("}}}"),
        _ => None,
    };
    if let Some(brace) = brace {
        return Ok(brace.to_owned());
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_.()'\"[]=!<>|&, -".contains(c);
    if expression.is_empty() || !expression.chars().all(is_word) {
        return Err(syntax_error("an expression is malformed"));
    }
    let mut found = data.iter().filter_map(|values| {
        let mut names = expression.split('.');
        let value = names.try_fold(*values, |value, name| value.get(name));
        value.filter(|value| !value.is_null())
    });
    Ok(match found.next() {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    })
}

fn syntax_error(description: &str) -> Problem {
    Problem::new(422, "3000", "template language syntax error").because(description)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_become_values_and_braces() {
        let data = json!({ "name": "Ana", "place": { "city": "Bedrock" }, "age": 7 });
        for (text, expected) in [
            ("no { braces } of two", Some("no { braces } of two")),
            ("hi {{ name }}", Some("hi Ana")),
            (
                "{{{name}}} in {{place.city}}, {{age}}",
                Some("Ana in Bedrock, 7"),
            ),
            ("{{unknown}}", Some("")),
            (
                "{{opening_double_curly()}}x{{ closing_double_curly() }}",
                Some("{{x}}"),
            ),
            ("{{", None),
            ("{{{name}}", None),
            ("{{}}", None),
            ("{{a;b}}", None),
        ] {
            let rendered = render(text, &[&data]).ok();
            assert_eq!(rendered.as_deref(), expected, "{text}");
        }
    }
}
