//! Lists, as a file has them and as suits a variable of the environment.

use serde::{Deserialize, Deserializer};

/// Names as a list, or, as suits a variable of the environment, with commas between them.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of names, or names with commas between them")]
    enum Written {
        List(Vec<String>),
        Commas(String),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::List(names) => names,
        Written::Commas(text) => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        }
    })
}

/// Ports as a list, or, as suits a variable of the environment, with commas between them.
pub(super) fn ports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<u16>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of ports, or ports with commas between them")]
    enum Written {
        One(u16),
        List(Vec<u16>),
        Commas(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => None,
        Some(Written::One(port)) => Some(vec![port]),
        Some(Written::List(ports)) => Some(ports),
        Some(Written::Commas(text)) => {
            let ports = text.split(',').map(|port| port.trim().parse());
            Some(ports.collect::<Result<_, _>>().map_err(serde::de::Error::custom)?)
        }
    })
}
