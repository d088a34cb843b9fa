//! The key that everything of Intel's ends at.

/// "Intel SGX Root CA", as `https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer`
/// gives it out.
pub(super) const INTEL_ROOT: &[u8] = include_bytes!("intel-root.der");
