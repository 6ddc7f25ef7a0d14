"""How accurate a bundle's files are: data sets, metrics, agreement with fp32, and the gates."""
