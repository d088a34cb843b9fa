//! The arithmetic of privacy: sampling, capacities and accountants, without a tensor library.
