//! What is learnt: graphs from ONNX, per-example gradients, DP-SGD, optimisers, metrics and export. It knows no network and no party.
