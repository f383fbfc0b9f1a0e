"""The PyTorch side: the network, its training, its archive for TorchServe, and the launcher of TorchServe itself."""
