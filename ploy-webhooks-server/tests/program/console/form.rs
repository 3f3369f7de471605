//! Forms, read from a page as a browser reads them.

/// The fields of the form that goes to that address, as they are filled in.
pub(super) fn of(page: &str, action: &str) -> Vec<(String, String)> {
    let marker = format!("action=\"{action}\"");
    let found =
        page.split("<form ").skip(1).find(|form| form[..form.find('>').unwrap()].contains(&marker));
    let form = found.unwrap_or_else(|| panic!("no form to {action} in {page}"));
    let form = form.split_once("</form>").unwrap().0;
    let mut fields = Vec::new();
    let mut rest = form;
    while let Some(begin) = rest.find('<') {
        rest = &rest[begin + 1..];
        let end = rest.find('>').unwrap();
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let Some(name) = attribute(tag, "name") else { continue };
        match tag.split_whitespace().next().unwrap() {
            "input" if tag.contains("type=\"checkbox\"") && !tag.contains(" checked") => {}
            "input" => fields.push((name, attribute(tag, "value").unwrap_or_default())),
            "textarea" => {
                let (text, after) = after.split_once("</textarea>").unwrap();
                // The first line ends where the element begins.
                fields.push((name, unescaped(text.strip_prefix('\n').unwrap_or(text))));
                rest = after;
            }
            "select" => {
                let (options, after) = after.split_once("</select>").unwrap();
                fields.extend(chosen(tag, options).into_iter().map(|value| (name.clone(), value)));
                rest = after;
            }
            _ => {}
        }
    }
    fields
}

/// The options that are chosen; of a list that takes one, the first where none is.
fn chosen(tag: &str, options: &str) -> Vec<String> {
    let tags: Vec<_> = options
        .split("<option ")
        .skip(1)
        .map(|option| &option[..option.find('>').unwrap()])
        .collect();
    let value = |tag: &&str| attribute(&format!(" {tag}"), "value").unwrap();
    let chosen: Vec<_> = tags.iter().filter(|tag| tag.contains(" selected")).map(value).collect();
    match chosen.is_empty() && !tag.contains(" multiple") {
        true => tags.first().map(value).into_iter().collect(),
        false => chosen,
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split_once(&format!(" {name}=\""))?.1;
    Some(unescaped(rest.split_once('"')?.0))
}

/// A text as it was before it was escaped.
pub(super) fn unescaped(text: &str) -> String {
    [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, char)| text.replace(escaped, char))
}
