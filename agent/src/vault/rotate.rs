//! New keys: for the passphrase, and for the vault.

use chrono::{DateTime, Utc};
use tributary_protocol::{Identity, Passphrase};

use super::Vault;
use super::error::VaultError;
use super::keys::KEY_FILE;
use super::write::following;

impl Vault {
    /// Seals the vault's keys under another passphrase. The old one opens no copy of the key file made from now on; who has
    /// an old copy and the old passphrase still has the keys, so follow with [`Vault::rotate`] where it has leaked.
    ///
    /// # Errors
    ///
    /// Those of the disk; the old passphrase holds then.
    pub fn change_passphrase(&self, new: &Passphrase) -> Result<(), VaultError> {
        let _lock = self.storage.lock()?;
        self.storage.replace(KEY_FILE, &self.keys.seal(new)?)
    }

    /// Wraps every data key under a new key of the vault, in a new version of each dataset; the parts stay as they are, and
    /// contracts on earlier versions go on. The number of datasets rewrapped.
    ///
    /// A crash in the middle leaves both keys in place; the next rotation completes it.
    ///
    /// # Errors
    ///
    /// Those of the disk and of damaged datasets; what was rewrapped until then stays so.
    pub fn rotate(
        &mut self,
        owner: &Identity,
        passphrase: &Passphrase,
        now: DateTime<Utc>,
    ) -> Result<usize, VaultError> {
        self.check_owner(owner)?;
        let _lock = self.storage.lock()?;
        if !self.keys.is_rotating() {
            let keys = self.keys.with_new_key()?;
            self.storage.replace(KEY_FILE, &keys.seal(passphrase)?)?;
            self.keys = keys;
        }
        let mut rewrapped = 0;
        for newest in self.list()? {
            let mut next = following(&newest, now);
            let mut changed = false;
            for part in &mut next.parts {
                if self.keys.is_current(&part.key) {
                    continue;
                }
                let key = self
                    .keys
                    .unwrap_key(&part.key, next.id, part.number)
                    .ok_or_else(|| VaultError::DataKey {
                        dataset: next.dataset.clone(),
                        part: part.number,
                    })?;
                part.key = self.keys.wrap(&key, next.id, part.number)?;
                changed = true;
            }
            if changed {
                self.publish(owner, next)?;
                rewrapped += 1;
            }
        }
        let keys = self.keys.without_old_keys();
        self.storage.replace(KEY_FILE, &keys.seal(passphrase)?)?;
        self.keys = keys;
        Ok(rewrapped)
    }
}
