"""The runtimes that compute a network: PyTorch, CUDA graphs, OpenVINO, ONNX Runtime."""
