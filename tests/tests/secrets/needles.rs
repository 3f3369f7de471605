//! Secrets in every form that a slip would give them, and the search for all of them at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What needles are told apart by: none is shorter.
const BEGIN: usize = 8;

/// What is looked for.
pub(crate) struct Needles {
    by_begin: HashMap<[u8; BEGIN], Vec<Needle>>,
}

struct Needle {
    /// What secret it is, and in what form.
    name: String,
    bytes: Vec<u8>,
}

impl Needles {
    /// All forms of these secrets, each with its name.
    pub(crate) fn of(secrets: &[(String, String)]) -> Self {
        let mut by_begin: HashMap<_, Vec<Needle>> = HashMap::new();
        for (name, secret) in secrets {
            let mut forms = forms_of(secret.as_bytes());
            if let Some(bytes) = decoded(secret) {
                forms.extend(
                    forms_of(&bytes)
                        .into_iter()
                        .map(|(form, bytes)| (format!("decoded, {form}"), bytes)),
                );
                let encoded = secret.rsplit('_').next().unwrap_or_default();
                forms.push(("without its prefix".to_owned(), encoded.into()));
            }
            for (form, bytes) in forms {
                if let Some(begin) = bytes.first_chunk::<BEGIN>() {
                    let needle = Needle { name: format!("{name} ({form})"), bytes: bytes.clone() };
                    by_begin.entry(*begin).or_default().push(needle);
                }
            }
        }
        Self { by_begin }
    }

    /// Where any of them is: the places, and what is there, each once.
    pub(crate) fn found_in(
        &self,
        haystacks: &[(String, Vec<u8>)],
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (place, bytes) in haystacks {
            let mut last = 0;
            for (at, begin) in bytes.windows(BEGIN).enumerate() {
                let Some(needles) =
                    begin.try_into().ok().and_then(|begin: [u8; BEGIN]| self.by_begin.get(&begin))
                else {
                    continue;
                };
                let is_here =
                    |needle: &&Needle| at >= last && bytes[at..].starts_with(&needle.bytes);
                if let Some(needle) = needles.iter().find(is_here) {
                    last = at + needle.bytes.len();
                    let around = &bytes[at.saturating_sub(120)..(last + 20).min(bytes.len())];
                    let around = String::from_utf8_lossy(around).into_owned();
                    let what = format!("{}: …{around:?}…", needle.name);
                    found.entry(place.clone()).or_default().insert(what);
                }
            }
        }
        found
    }
}

/// The bytes that a secret is the base64 of, behind its prefix.
fn decoded(secret: &str) -> Option<Vec<u8>> {
    let encoded = ["whsec_", "whpk_"].iter().find_map(|prefix| secret.strip_prefix(prefix));
    let bytes = STANDARD.decode(encoded.unwrap_or(secret)).ok()?;
    (bytes.len() >= 16).then_some(bytes)
}

fn forms_of(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("in upper case digits", hex.to_uppercase().into()),
        ("in digits", hex.into()),
        ("as a list of bytes", decimal.join(", ").into()),
    ];
    // As a part of something longer that is encoded: behind none, one or two bytes more than
    // whole groups, of which a part of the digits depends on what stands beside.
    for before in 0..3 {
        let encoded = STANDARD.encode([&[0; 3][..before], bytes].concat());
        let digits = encoded.trim_end_matches('=');
        let end = digits.len() - usize::from(digits.len() < encoded.len());
        let digits = &digits[[0, 2, 3][before]..end];
        forms.push(("in base64", digits.into()));
        forms.push(("in base64 for URLs", digits.replace('+', "-").replace('/', "_").into()));
    }
    forms.into_iter().map(|(form, bytes)| (form.to_owned(), bytes)).collect()
}

/// Whether these bytes are among those.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
