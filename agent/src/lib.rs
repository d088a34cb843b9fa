//! The provider's side: vault, importers, sampler, budget meter and ledger member.
