//! What the parties say: identities, contract, ledger entries and proofs, handshake, messages, sealed envelopes, the attested channel.
