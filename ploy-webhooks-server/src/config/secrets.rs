//! Secrets that are read from the environment alone: the root token, the master keys.

use ploy_webhooks::{MasterKey, ParseMasterKeyError, Secret, SecretDigest};

use super::ConfigError;

/// The root token that the operator has chosen, if there is one.
pub(crate) fn root_token_from_env() -> Result<Option<SecretDigest>, ConfigError> {
    let Some(text) = std::env::var_os("PLOY_ROOT_TOKEN") else {
        return Ok(None);
    };
    let text = text.into_string().map_err(|_| ConfigError::RootToken)?;
    if text.len() < 32 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::RootToken);
    }
    Ok(Some(Secret::from(text).digest()))
}

/// The master keys that the operator gives in the environment.
#[derive(Debug)]
pub(crate) struct MasterKeys {
    pub(crate) current: Option<MasterKey>,
    /// The one that `current` replaces.
    pub(crate) previous: Option<MasterKey>,
}

pub(crate) fn master_keys_from_env() -> Result<MasterKeys, ConfigError> {
    Ok(MasterKeys {
        current: master_key_from_env("PLOY_MASTER_KEY")?,
        previous: master_key_from_env("PLOY_MASTER_KEY_PREVIOUS")?,
    })
}

fn master_key_from_env(name: &'static str) -> Result<Option<MasterKey>, ConfigError> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(None);
    };
    let key = text.to_str().ok_or(ParseMasterKeyError).and_then(str::parse);
    key.map(Some).map_err(|source| ConfigError::MasterKey { name, source })
}
