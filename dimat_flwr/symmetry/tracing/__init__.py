"""The network's forward pass as a graph of operators: by torch.fx where that is enough, else by torch.export."""
